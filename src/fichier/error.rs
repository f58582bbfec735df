//! What can go wrong at 1Fichier, classified by the text of the answer.
//!
//! The text decides and never the `#number`, which is a source line and
//! drifts; the HTTP status is a hint only ([API §A]).

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::shared;
use crate::error::{self as domain, Reason};

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Too many calls: the account, key or address is locked for a while.
    Flood,
    /// The address is banned ("IP Locked" without "Flood").
    Banned,
    /// The account is used from too many addresses.
    Location,
    /// The API key is missing, wrong or revoked.
    Credentials,
    /// The account's plan does not allow the call.
    Plan,
    /// The address is a server's: CDN credits or another plan are needed.
    ProfessionalAddress,
    /// The file or folder does not exist.
    NotFound,
    /// The folder that files go to does not exist.
    NoDestination,
    /// Access to the file or folder is refused.
    Access,
    /// A password is needed, and none was sent.
    Password,
    /// The password is not the right one.
    WrongPassword,
    /// The remote is read-only: the call was not made.
    ReadOnly,
    /// What the call changes, or has changed, cannot be noted on disk.
    Unkept,
    /// A name has characters that 1Fichier refuses, or is too long.
    Name,
    /// The call changed nothing.
    NoChange,
    /// The account is full.
    Quota,
    /// 1Fichier holds another content than was sent.
    Corrupt,
    /// Any other refusal.
    Refused,
    /// A refusal of an upload that another node may accept.
    Node,
    /// HTTP 5xx.
    Server,
    /// The call certainly did not reach 1Fichier.
    NotSent,
    /// The connection broke or timed out; the call may have had its effect.
    Broken,
    /// The answer was not understood.
    Malformed,
    /// The call was not made: it would have had to wait beyond the deadline.
    Deadline,
    /// Nothing was sent: no connection was free.
    Busy,
    /// The call was not made: too many others wait for the request budget.
    Crowded,
    /// A host outside 1Fichier's domain was named by an answer.
    ForeignHost,
    /// What this program sent was not what it announced.
    Body,
    /// A download URL is not valid any more, or answered something else than
    /// the content.
    Token,
}

impl Kind {
    /// A name for figures.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flood => "flood",
            Self::Banned => "banned",
            Self::Location => "location",
            Self::Credentials => "credentials",
            Self::Plan => "plan",
            Self::ProfessionalAddress => "professional_address",
            Self::NotFound => "not_found",
            Self::NoDestination => "no_destination",
            Self::Access => "access",
            Self::Password => "password",
            Self::WrongPassword => "wrong_password",
            Self::ReadOnly => "read_only",
            Self::Unkept => "unkept",
            Self::Name => "name",
            Self::NoChange => "no_change",
            Self::Quota => "quota",
            Self::Corrupt => "corrupt",
            Self::Refused => "refused",
            Self::Node => "node",
            Self::Server => "server",
            Self::NotSent => "not_sent",
            Self::Broken => "broken",
            Self::Malformed => "malformed",
            Self::Deadline => "deadline",
            Self::Busy => "busy",
            Self::Crowded => "crowded",
            Self::ForeignHost => "foreign_host",
            Self::Body => "body",
            Self::Token => "token",
        }
    }
}

/// A failed exchange with 1Fichier.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    endpoint: &'static str,
    kind: Kind,
    text: String,
    wait: Option<Duration>,
    when: Instant,
    unresolved: bool,
}

impl Error {
    pub(crate) fn new(endpoint: &'static str, kind: Kind, text: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            endpoint,
            kind,
            text: text.into(),
            wait: None,
            when: Instant::now(),
            unresolved: false,
        }))
    }

    /// A file that is not there any more.
    pub fn gone(endpoint: &'static str) -> Self {
        Self::new(endpoint, Kind::NotFound, "the file was gone already")
    }

    /// The server stopped before the call was made.
    pub fn stopping(endpoint: &'static str) -> Self {
        Self::new(endpoint, Kind::NotSent, "the server is stopping")
    }

    /// The files are there, and their destination is not.
    pub fn no_destination(endpoint: &'static str) -> Self {
        Self::new(
            endpoint,
            Kind::NoDestination,
            "the destination folder is gone",
        )
    }

    /// What is changed cannot be noted on disk now.
    pub fn unkept(why: impl Into<String>) -> Self {
        Self::new("state", Kind::Unkept, why)
    }

    /// It is stored under another name than was asked for.
    pub fn misnamed(endpoint: &'static str, asked: &str, told: &str) -> Self {
        Self::new(
            endpoint,
            Kind::Name,
            format!("1Fichier stores the name {asked:?} as {told:?}"),
        )
    }

    /// 1Fichier did it, and does not say where the files are now.
    pub fn untold(endpoint: &'static str) -> Self {
        Self::new(
            endpoint,
            Kind::Malformed,
            "1Fichier does not say where the files are now",
        )
    }

    /// The caller went away before the call was made.
    pub fn given_up(endpoint: &'static str) -> Self {
        Self::new(endpoint, Kind::NotSent, "the caller went away")
    }

    /// 1Fichier said OK, and did nothing.
    pub fn undone() -> Self {
        Self::new(
            "file",
            Kind::NoChange,
            "1Fichier did not do what it was asked for",
        )
    }

    /// A file could not be looked at in its folder before it was to be taken
    /// away.
    pub fn not_seen(endpoint: &'static str, error: &domain::Error) -> Self {
        let kind = match error.reason() {
            Reason::UpstreamLocked => Kind::Flood,
            _ => Kind::Deadline,
        };
        let text = format!(
            "it is not known whether the file is still there: {}",
            error.message()
        );
        let wait = error.retry_delay().unwrap_or(domain::DEFAULT_RETRY_DELAY);
        Self::new(endpoint, kind, text).waiting(wait)
    }

    /// A file was seen too long ago to be taken away, again and again.
    pub fn unseen(endpoint: &'static str) -> Self {
        let text = "the request budget is short, so that the file could not be looked at in time";
        Self::new(endpoint, Kind::Deadline, text)
    }

    pub(super) fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Whether a password is missing or wrong.
    pub fn is_about_password(&self) -> bool {
        matches!(self.0.kind, Kind::Password | Kind::WrongPassword)
    }

    pub(crate) fn waiting(mut self, wait: Duration) -> Self {
        self.0.wait = Some(wait);
        self
    }

    /// When it failed. What was asked for has had its effect by then, if ever.
    pub fn when(&self) -> Instant {
        self.0.when
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The text, 1Fichier's own where there is one.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Whether the same call can succeed a little later.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.0.kind,
            Kind::Flood
                | Kind::Banned
                | Kind::Location
                | Kind::Server
                | Kind::NotSent
                | Kind::Broken
                | Kind::Malformed
                | Kind::Node
                | Kind::Deadline
                | Kind::Busy
                | Kind::Crowded
                | Kind::Token
                | Kind::Unkept
        )
    }

    /// Whether the call may have had its effect although it failed.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self.0.kind, Kind::Broken | Kind::Malformed | Kind::Server)
    }

    /// What was sent before may have had its effect, and that cannot be found
    /// out now.
    pub(crate) fn unresolved(mut self) -> Self {
        self.0.unresolved = true;
        self
    }

    /// Whether something was sent whose effect could not be found out.
    pub fn is_unresolved(&self) -> bool {
        self.0.unresolved
    }

    /// How long to wait before a repeat.
    pub fn wait(&self) -> Duration {
        self.0.wait.unwrap_or(match self.0.kind {
            Kind::Flood => Duration::from_secs(30),
            Kind::Location => Duration::from_secs(300),
            Kind::Banned => Duration::from_secs(3600),
            Kind::Malformed => Duration::from_secs(10),
            _ => domain::DEFAULT_RETRY_DELAY,
        })
    }

    /// The same without a secret that 1Fichier might repeat.
    pub(crate) fn without(mut self, secret: &str) -> Self {
        if !secret.is_empty() && self.0.text.contains(secret) {
            self.0.text = self.0.text.replace(secret, "…");
        }
        self
    }

    /// Classifies a refusal of `/v1`.
    pub(crate) fn refusal(endpoint: &'static str, status: u16, message: &str) -> Self {
        let kind = classify(status, message);
        let text = if message.is_empty() {
            format!("HTTP {status} without a reason")
        } else {
            message.to_owned()
        };
        Self::new(endpoint, kind, text)
    }

    /// Classifies a failure to exchange messages. The text names the error's
    /// chain without the URL, which may be secret.
    pub(crate) fn transport(endpoint: &'static str, error: reqwest::Error) -> Self {
        let kind = if error.is_connect() || error.is_builder() {
            Kind::NotSent
        } else {
            Kind::Broken
        };
        let error = error.without_url();
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self::new(endpoint, kind, text)
    }
}

fn classify(status: u16, message: &str) -> Kind {
    let text = message.to_lowercase();
    let has = |part: &str| text.contains(part);
    // The order matters: "Flood detected: IP Locked" is a flood, "Invalid
    // password. Resource not allowed" is about the password.
    if has("flood")
        || has("user locked")
        || has("apk locked")
        || has("requests are too fast")
        || status == 429
    {
        Kind::Flood
    } else if has("owner locked") {
        Kind::Access
    } else if has("ip locked") || has("will be unlocked within") {
        Kind::Banned
    } else if has("location") && has("allowed at a time") {
        Kind::Location
    } else if has("no such user") || has("not authenticated") || has("bad token") {
        Kind::Credentials
    } else if has("must be a customer") {
        Kind::Plan
    } else if has("professional equipment") || has("must have cdn") || has("use cdn credits") {
        Kind::ProfessionalAddress
    } else if has("invalid password") {
        Kind::WrongPassword
    } else if has("password") {
        Kind::Password
    } else if has("not found") {
        Kind::NotFound
    } else if has("not allowed") {
        Kind::Access
    } else if has("bad filename") || has("filename characters") {
        Kind::Name
    } else if has("no file has been") || has("no changes requested") {
        Kind::NoChange
    } else {
        match status {
            401 => Kind::Credentials,
            404 | 410 => Kind::NotFound,
            500.. => Kind::Server,
            _ => Kind::Refused,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.text, self.0.endpoint)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}

impl From<Error> for domain::Error {
    fn from(error: Error) -> Self {
        if error.kind() == Kind::Unkept {
            let text = format!(
                "this server cannot write to its state directory, and promises no change meanwhile; make room there, or see what its log says: {}",
                error.text()
            );
            return Self::new(Reason::StateUnavailable, text).retry_after(error.wait());
        }
        let (reason, advice) = match error.kind() {
            Kind::Flood | Kind::Banned => (
                Reason::UpstreamLocked,
                "1Fichier has locked the account for a while; wait before trying again",
            ),
            Kind::Location => (
                Reason::UpstreamLocked,
                "1Fichier lets the account be used from one address at a time; wait, or stop the other use",
            ),
            Kind::Credentials => (
                Reason::UpstreamCredentialsRejected,
                "1Fichier does not accept the API key; check it at https://1fichier.com/console/params.pl",
            ),
            Kind::Plan => (
                Reason::UpstreamPlanRequired,
                "the 1Fichier account needs a Premium or Access plan, or CDN credits, for this",
            ),
            Kind::ProfessionalAddress => (
                Reason::UpstreamPlanRequired,
                "1Fichier sees the address of a server or VPN, and lets it download with CDN credits only: \
                 buy CDN credits and set the remote's `cdn`, use a Premium GOLD plan, or connect from a residential line",
            ),
            Kind::NotFound if error.0.endpoint == shared::ENDPOINT => (
                Reason::DirectoryNotFound,
                "1Fichier does not know the shared folder, or it is shared no more; correct the remote's `shared_folder`",
            ),
            Kind::NotFound => (Reason::FileNotFound, "1Fichier does not have it any more"),
            Kind::NoDestination => (
                Reason::DirectoryNotFound,
                "another program removed the directory; try again",
            ),
            Kind::Access => (
                Reason::UpstreamAccessDenied,
                "1Fichier refuses access: the file's owner restricts who may read it, or the owner's account is locked",
            ),
            Kind::Password if error.0.endpoint == shared::ENDPOINT => (
                Reason::UpstreamAccessDenied,
                "the shared folder is protected with a password, and the remote has none; set its `folder_password`",
            ),
            Kind::WrongPassword if error.0.endpoint == shared::ENDPOINT => (
                Reason::UpstreamAccessDenied,
                "the remote's `folder_password` is not the password of the shared folder; correct it",
            ),
            Kind::Password => (
                Reason::UpstreamAccessDenied,
                "the file is protected with a password, and the remote has none; set its `file_password`",
            ),
            Kind::WrongPassword => (
                Reason::UpstreamAccessDenied,
                "the remote's `file_password` is not the password of the file; correct it",
            ),
            Kind::ReadOnly => (
                Reason::ReadOnly,
                "the remote shows a shared folder, which cannot be changed; write to a remote without `shared_folder`",
            ),
            Kind::Unkept => (Reason::StateUnavailable, "the state cannot be written"),
            Kind::Name => (Reason::InvalidPath, "1Fichier refuses the name"),
            Kind::Corrupt => (
                Reason::StoredContentCorrupt,
                "the upload was damaged on its way; send it again",
            ),
            Kind::Quota => (
                Reason::StorageQuotaExceeded,
                "the 1Fichier account is full; free space or extend it",
            ),
            Kind::NoChange | Kind::Refused => (Reason::UpstreamProtocol, "1Fichier refused"),
            Kind::Node | Kind::Server => (
                Reason::UpstreamUnavailable,
                "1Fichier has a problem of its own; try again later",
            ),
            Kind::NotSent => (
                Reason::UpstreamUnavailable,
                "1Fichier cannot be reached; check the network and try again",
            ),
            Kind::Broken => (
                Reason::UpstreamUnavailable,
                "the connection to 1Fichier broke; try again",
            ),
            // Such as a page for people: it may make sense the next time.
            Kind::Malformed => (
                Reason::UpstreamUnavailable,
                "1Fichier's answer makes no sense; try again later",
            ),
            Kind::Deadline => (
                Reason::UpstreamUnavailable,
                "the request budget allows this call only after the deadline",
            ),
            Kind::Busy => (
                Reason::TooManyTransfers,
                "all connections to 1Fichier are in use by other transfers; try again later",
            ),
            Kind::Crowded => (
                Reason::UpstreamUnavailable,
                "more calls wait for 1Fichier than this server keeps waiting; try again later",
            ),
            Kind::ForeignHost => (
                Reason::UpstreamProtocol,
                "1Fichier named a host that is not its own; nothing was sent to it",
            ),
            Kind::Body => (
                Reason::UpstreamUnavailable,
                "the content could not be read to the end",
            ),
            Kind::Token => (
                Reason::UpstreamUnavailable,
                "1Fichier's download server does not give the content",
            ),
        };
        let mut result = Self::new(reason, format!("{advice}: {}", error.0.text))
            .with("upstream_message", error.0.text.clone())
            .with("upstream_endpoint", error.0.endpoint);
        if reason.code() == tonic::Code::Unavailable {
            result = result.retry_after(error.wait());
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of [API §A.2].
    #[test]
    fn refusals_are_classified_by_text() {
        for (status, message, kind) in [
            (403, "Flood detected: IP Locked #374", Kind::Flood),
            (403, "Flood detected: IP Locked #1032", Kind::Flood),
            (200, "flood DETECTED: User Locked #223", Kind::Flood),
            (403, "Flood detected: User APK Locked", Kind::Flood),
            (429, "", Kind::Flood),
            (403, "IP Locked #79", Kind::Banned),
            (403, "No such user #142", Kind::Credentials),
            (401, "Not authenticated #247", Kind::Credentials),
            (401, "", Kind::Credentials),
            (403, "Bad token", Kind::Credentials),
            (403, "Must be a customer (Premium, Access) #236", Kind::Plan),
            (404, "Resource not found #469", Kind::NotFound),
            (200, "Resource not found #469", Kind::NotFound),
            (403, "Resource not allowed #631", Kind::Access),
            (
                403,
                "Password not provided. Resource not allowed #1",
                Kind::Password,
            ),
            (
                403,
                "Invalid password. Resource not allowed #2",
                Kind::WrongPassword,
            ),
            (403, "Your requests are too fast", Kind::Flood),
            (403, "IP Locked. Will be unlocked within 1h", Kind::Banned),
            (403, "Owner locked #620", Kind::Access),
            (
                403,
                "Only 1 location allowed at a time #887",
                Kind::Location,
            ),
            (
                403,
                "Only 3 locations allowed at a time #887",
                Kind::Location,
            ),
            (
                403,
                "You use professional equipment, must have CDN credits",
                Kind::ProfessionalAddress,
            ),
            (
                403,
                "Premium downloads are for residential lines only, or use CDN credits #913",
                Kind::ProfessionalAddress,
            ),
            (200, "No file has been renamed #312", Kind::NoChange),
            (200, "Bad filename characters", Kind::Name),
            (503, "maintenance", Kind::Server),
            (403, "something new #1", Kind::Refused),
        ] {
            assert_eq!(classify(status, message), kind, "{status} {message}");
        }
    }

    #[test]
    fn unavailable_always_says_when_to_come_back() {
        let error: domain::Error =
            Error::refusal("x", 403, "Flood detected: IP Locked #374").into();
        assert_eq!(error.reason(), Reason::UpstreamLocked);
        assert!(error.retry_delay().is_some());
        let error: domain::Error = Error::refusal("x", 401, "Not authenticated #247").into();
        assert_eq!(error.retry_delay(), None);
        let error: domain::Error = Error::new("x", Kind::Malformed, "<html>").into();
        assert_eq!(error.reason(), Reason::UpstreamUnavailable);
        assert_eq!(error.retry_delay(), Some(Duration::from_secs(10)));
    }
}
