//! The error that operations answer with: a reason for programs, a text for
//! people, and when a repeat is worth it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::quote;

/// Domain of `google.rpc.ErrorInfo` in every error status.
pub const DOMAIN: &str = "storage.pluton";

/// How long to wait before a repeat when nothing better is known.
pub const DEFAULT_RETRY_DELAY: Duration = Duration::from_secs(5);

/// A result of an operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! reasons {
    ($($variant:ident $text:literal $code:ident),+ $(,)?) => {
        /// Why an operation failed; `pluton.storage.v1.ErrorReason` in the contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each is documented in error.proto")]
        pub enum Reason { $($variant),+ }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in `google.rpc.ErrorInfo.reason`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The gRPC code: a function of the reason (design, section 3).
            pub fn code(self) -> tonic::Code {
                match self { $(Self::$variant => tonic::Code::$code),+ }
            }
        }
    };
}

reasons! {
    InvalidField "INVALID_FIELD" InvalidArgument,
    InvalidPath "INVALID_PATH" InvalidArgument,
    ProtocolViolation "PROTOCOL_VIOLATION" InvalidArgument,
    SizeMismatch "SIZE_MISMATCH" InvalidArgument,
    ChecksumMismatch "CHECKSUM_MISMATCH" InvalidArgument,
    FileTooLarge "FILE_TOO_LARGE" InvalidArgument,
    EmptyFile "EMPTY_FILE" InvalidArgument,
    RemoteNotFound "REMOTE_NOT_FOUND" NotFound,
    FileNotFound "FILE_NOT_FOUND" NotFound,
    DirectoryNotFound "DIRECTORY_NOT_FOUND" NotFound,
    EntryExists "ENTRY_EXISTS" AlreadyExists,
    RequestIdReused "REQUEST_ID_REUSED" AlreadyExists,
    IsADirectory "IS_A_DIRECTORY" FailedPrecondition,
    NotADirectory "NOT_A_DIRECTORY" FailedPrecondition,
    DirectoryNotEmpty "DIRECTORY_NOT_EMPTY" FailedPrecondition,
    AmbiguousPath "AMBIGUOUS_PATH" FailedPrecondition,
    UpstreamCredentialsRejected "UPSTREAM_CREDENTIALS_REJECTED" FailedPrecondition,
    UpstreamPlanRequired "UPSTREAM_PLAN_REQUIRED" FailedPrecondition,
    EtagMismatch "ETAG_MISMATCH" Aborted,
    PageTokenExpired "PAGE_TOKEN_EXPIRED" Aborted,
    UploadNotCommitted "UPLOAD_NOT_COMMITTED" Aborted,
    ContentChanged "CONTENT_CHANGED" Aborted,
    RangeNotSatisfiable "RANGE_NOT_SATISFIABLE" OutOfRange,
    TokenInvalid "TOKEN_INVALID" Unauthenticated,
    ReadOnly "READ_ONLY" PermissionDenied,
    PrefixForbidden "PREFIX_FORBIDDEN" PermissionDenied,
    UpstreamAccessDenied "UPSTREAM_ACCESS_DENIED" PermissionDenied,
    StorageQuotaExceeded "STORAGE_QUOTA_EXCEEDED" ResourceExhausted,
    SpoolFull "SPOOL_FULL" ResourceExhausted,
    TooManyTransfers "TOO_MANY_TRANSFERS" ResourceExhausted,
    UpstreamLocked "UPSTREAM_LOCKED" Unavailable,
    UpstreamUnavailable "UPSTREAM_UNAVAILABLE" Unavailable,
    ShuttingDown "SHUTTING_DOWN" Unavailable,
    StateUnavailable "STATE_UNAVAILABLE" Unavailable,
    CapabilityMissing "CAPABILITY_MISSING" Unimplemented,
    StoredContentCorrupt "STORED_CONTENT_CORRUPT" DataLoss,
    UpstreamProtocol "UPSTREAM_PROTOCOL" Internal,
    InternalError "INTERNAL_ERROR" Internal,
}

/// The name of a code as the gRPC specification writes it.
pub fn code_name(code: tonic::Code) -> &'static str {
    match code {
        tonic::Code::Ok => "OK",
        tonic::Code::Cancelled => "CANCELLED",
        tonic::Code::Unknown => "UNKNOWN",
        tonic::Code::InvalidArgument => "INVALID_ARGUMENT",
        tonic::Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        tonic::Code::NotFound => "NOT_FOUND",
        tonic::Code::AlreadyExists => "ALREADY_EXISTS",
        tonic::Code::PermissionDenied => "PERMISSION_DENIED",
        tonic::Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        tonic::Code::FailedPrecondition => "FAILED_PRECONDITION",
        tonic::Code::Aborted => "ABORTED",
        tonic::Code::OutOfRange => "OUT_OF_RANGE",
        tonic::Code::Unimplemented => "UNIMPLEMENTED",
        tonic::Code::Internal => "INTERNAL",
        tonic::Code::Unavailable => "UNAVAILABLE",
        tonic::Code::DataLoss => "DATA_LOSS",
        tonic::Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

impl Reason {
    /// Whether the same call can succeed later, so that it is told when to come
    /// back: always with UNAVAILABLE, and when this server has no room now.
    fn passes(self) -> bool {
        self.code() == tonic::Code::Unavailable
            || matches!(self, Self::SpoolFull | Self::TooManyTransfers)
    }
}

/// A failed operation. Cheap to clone: one failure can answer many callers.
/// What it repeats of a caller's texts is short ([`quote`]).
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    reason: Reason,
    message: String,
    path: Option<String>,
    field: Option<String>,
    metadata: Vec<(&'static str, String)>,
    retry_after: Option<Duration>,
}

fn short(text: impl Into<String>) -> String {
    let text = text.into();
    match quote::shortened(&text) {
        std::borrow::Cow::Borrowed(_) => text,
        std::borrow::Cow::Owned(short) => short,
    }
}

impl Error {
    /// An error with a text that says what failed and what to do.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let retry_after = reason.passes().then_some(DEFAULT_RETRY_DELAY);
        Self(Arc::new(Inner {
            reason,
            message: quote::message(message.into()),
            path: None,
            field: None,
            metadata: Vec::new(),
            retry_after,
        }))
    }

    fn edit(mut self, edit: impl FnOnce(&mut Inner)) -> Self {
        edit(Arc::make_mut(&mut self.0));
        self
    }

    /// Names the path concerned, unless one is named already.
    #[must_use]
    pub fn at(self, path: impl Into<String>) -> Self {
        if self.0.path.is_some() {
            return self;
        }
        self.edit(|inner| inner.path = Some(short(path)))
    }

    /// Names the request field concerned.
    #[must_use]
    pub fn field(self, field: impl Into<String>) -> Self {
        self.edit(|inner| inner.field = Some(short(field)))
    }

    /// Adds a fact for programs.
    #[must_use]
    pub fn with(self, key: &'static str, value: impl Into<String>) -> Self {
        self.edit(|inner| inner.metadata.push((key, short(value))))
    }

    /// Says something more to people.
    #[must_use]
    pub fn also(self, text: impl fmt::Display) -> Self {
        self.edit(|inner| {
            inner.message.push_str("; ");
            inner.message.push_str(&text.to_string());
            inner.message = quote::message(std::mem::take(&mut inner.message));
        })
    }

    /// Says that a repeat cannot help.
    #[must_use]
    pub fn for_good(self) -> Self {
        self.edit(|inner| inner.retry_after = None)
    }

    /// Says how long to wait before a repeat.
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        self.edit(|inner| inner.retry_after = Some(delay))
    }

    /// Why it failed.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// What failed and what to do, for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The path concerned.
    pub fn path(&self) -> Option<&str> {
        self.0.path.as_deref()
    }

    /// The request field concerned.
    pub fn field_name(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// Facts for programs.
    pub fn metadata(&self) -> &[(&'static str, String)] {
        &self.0.metadata
    }

    /// How long to wait before a repeat; `None` when a repeat cannot help.
    pub fn retry_delay(&self) -> Option<Duration> {
        self.0.retry_after
    }

    // What every layer has to say in the same words.

    /// A path or name that is not allowed.
    pub fn invalid_path(path: &str, why: impl fmt::Display) -> Self {
        Self::new(
            Reason::InvalidPath,
            format!("{path:?} is not a usable path: {why}"),
        )
        .at(path)
        .field("path")
    }

    /// A field with a value that is not allowed.
    pub fn invalid_field(field: &'static str, why: impl fmt::Display) -> Self {
        Self::new(Reason::InvalidField, format!("{field}: {why}")).field(field)
    }

    /// A file that certainly does not exist.
    pub fn file_not_found(path: &str) -> Self {
        Self::new(Reason::FileNotFound, format!("there is no file {path:?}")).at(path)
    }

    /// A directory that certainly does not exist.
    pub fn directory_not_found(path: &str) -> Self {
        Self::new(
            Reason::DirectoryNotFound,
            format!("there is no directory {path:?}"),
        )
        .at(path)
    }

    /// A directory where a file is expected.
    pub fn is_a_directory(path: &str) -> Self {
        let shown = if path.is_empty() { "the root" } else { path };
        Self::new(
            Reason::IsADirectory,
            format!("{shown:?} is a directory, and a file is needed"),
        )
        .at(path)
    }

    /// A file where a directory is expected.
    pub fn not_a_directory(path: &str) -> Self {
        Self::new(
            Reason::NotADirectory,
            format!("{path:?} is a file, and a directory is needed"),
        )
        .at(path)
    }

    /// A defect of this program.
    pub fn internal(what: impl fmt::Display) -> Self {
        Self::new(
            Reason::InternalError,
            format!("{what}; this is a defect of pluton-fichier, please report it"),
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.reason.as_str(), self.0.message)?;
        match &self.0.path {
            Some(path) => write!(f, " [{path}]"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
