//! Exit codes, and the one shape of everything that can go wrong.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::error::{Reason, code_name};
use crate::proto::Failure;

/// How a client command ended; the number is the exit code of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed in a way that has no code of its own.
    Other = 1,
    /// The command line is not usable.
    Usage = 2,
    /// No such file, directory or remote.
    NotFound = 3,
    /// Something is there already and may not be replaced.
    AlreadyExists = 4,
    /// The request cannot be met as things are: a repeat fails as well.
    Precondition = 5,
    /// Not now: a repeat later can succeed.
    Unavailable = 6,
    /// Not allowed.
    Permission = 7,
    /// The content is damaged or came incomplete.
    Corrupt = 8,
    /// Stopped by Ctrl-C or SIGTERM.
    Interrupted = 130,
}

/// What the exit codes mean, for people.
pub const EXIT_CODES: &str = "\
Exit codes of the client commands:
  0  done
  1  another failure, or several of different kinds
  2  wrong usage
  3  not found
  4  exists already
  5  refused as asked: a repeat fails as well
  6  unavailable now: a repeat later can succeed
  7  not permitted
  8  content damaged or incomplete
  130  stopped by Ctrl-C or SIGTERM";

impl Exit {
    /// The exit code that fits a gRPC code.
    pub fn from_code(code: Code) -> Self {
        match code {
            Code::Ok => Self::Ok,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::AlreadyExists,
            Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::ResourceExhausted => Self::Precondition,
            Code::Unavailable | Code::DeadlineExceeded => Self::Unavailable,
            Code::PermissionDenied | Code::Unauthenticated => Self::Permission,
            Code::DataLoss => Self::Corrupt,
            Code::Cancelled | Code::Unknown | Code::Unimplemented | Code::Internal => Self::Other,
        }
    }

    /// The exit code that fits a gRPC code with its reason: some full
    /// resources become free again, others do not.
    pub fn from_reason(code: Code, reason: Option<&str>) -> Self {
        let passes = [Reason::SpoolFull, Reason::TooManyTransfers];
        if passes
            .iter()
            .any(|passing| Some(passing.as_str()) == reason)
        {
            return Self::Unavailable;
        }
        Self::from_code(code)
    }

    /// How a command ended of which single items failed so: as they did, if
    /// all failed alike.
    pub(super) fn of_all(failures: &[Self]) -> Self {
        match failures {
            [] => Self::Ok,
            [first, rest @ ..] if rest.iter().all(|exit| exit == first) => *first,
            _ => Self::Other,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command, or one item of it, failed.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) exit: Exit,
    pub(super) code: Code,
    pub(super) reason: Option<String>,
    pub(super) message: String,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) retry_after: Option<Duration>,
    /// Nothing is to be said: whoever reads the output has left.
    pub(super) silent: bool,
}

impl Problem {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            exit: Exit::from_code(code),
            code,
            reason: None,
            message: message.into(),
            metadata: BTreeMap::new(),
            retry_after: None,
            silent: false,
        }
    }

    /// A failure on this side of the connection.
    pub(super) fn local(message: impl Into<String>) -> Self {
        Self::new(Code::Unknown, message)
    }

    /// A command line that cannot be meant.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        let mut problem = Self::new(Code::InvalidArgument, message);
        problem.exit = Exit::Usage;
        problem
    }

    /// Content that is not what it should be.
    pub(super) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(Code::DataLoss, message)
    }

    /// An answer that breaks the contract.
    pub(super) fn contract(what: &str) -> Self {
        Self::new(
            Code::Internal,
            format!("the server's answer is not usable: {what}"),
        )
    }

    pub(super) fn interrupted() -> Self {
        let mut problem = Self::new(Code::Cancelled, "interrupted");
        problem.exit = Exit::Interrupted;
        problem
    }

    /// A failed write to standard output. A reader that has seen enough is
    /// no failure.
    pub(super) fn output(error: &io::Error) -> Self {
        let mut problem = Self::local(format!("cannot write to standard output: {error}"));
        if error.kind() == io::ErrorKind::BrokenPipe {
            problem.silent = true;
            problem.exit = Exit::Ok;
        }
        problem
    }

    /// A repeat can succeed: nothing is amiss but the moment.
    pub(super) fn retryable(&self) -> bool {
        let full = self.exit == Exit::Unavailable && self.retry_after.is_some();
        self.code == Code::Unavailable || full
    }

    /// What failed is not the same any more as it was when it was looked at.
    pub(super) fn is_change(&self) -> bool {
        let changes = [Reason::EtagMismatch, Reason::ContentChanged];
        let is = |change: &Reason| self.reason.as_deref() == Some(change.as_str());
        changes.iter().any(is)
    }
}

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        // What tonic makes of a deadline, on either side.
        if status.code() == Code::Cancelled && status.message() == "Timeout expired" {
            return Self::new(Code::DeadlineExceeded, "not finished in time");
        }
        // A status that the server sent has no source.
        if let Some(source) = status.source() {
            let cause = root_cause(source);
            let message = format!("the connection to the server was lost: {cause}");
            return Self::new(Code::Unavailable, message);
        }
        let message = match status.message() {
            "" => format!("the server answered {}", code_name(status.code())),
            text => text.to_owned(),
        };
        let mut problem = Self::new(status.code(), message);
        if let Some(info) = details.error_info() {
            problem.reason = Some(info.reason.clone());
            problem.metadata = info.metadata.clone().into_iter().collect();
        }
        problem.retry_after = details.retry_info().and_then(|info| info.retry_delay);
        problem.exit = Exit::from_reason(status.code(), problem.reason.as_deref());
        problem
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let code = Code::from_i32(failure.code);
        let mut problem = Self::new(code, failure.message);
        problem.reason = Some(failure.reason).filter(|reason| !reason.is_empty());
        problem.metadata = failure.metadata.into_iter().collect();
        problem.retry_after = failure
            .retry_delay
            .and_then(|delay| Duration::try_from(delay).ok());
        problem.exit = Exit::from_reason(code, problem.reason.as_deref());
        problem
    }
}

/// What is at the bottom of an error.
pub(super) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
