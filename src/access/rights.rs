//! Whether a caller may do something, whatever face it came to.

use super::{Caller, Mode};
use crate::backend::RemotePath;
use crate::error::{Error, Reason};

/// What is done to the paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// They are looked at or read.
    Read,
    /// Something new is put there; what is there stays.
    Add,
    /// What is there is replaced, removed, moved or made public.
    Change,
}

impl Caller {
    /// Whether it may do this to all of these paths of the remote, which is
    /// named. What is no path leads nowhere: the backend takes only those that
    /// are.
    ///
    /// # Errors
    /// PREFIX_FORBIDDEN, READ_ONLY.
    pub fn check(&self, act: Act, remote: &str, paths: &[&str]) -> Result<(), Error> {
        let Self::Holder(token) = self else {
            return Ok(());
        };
        let forbidden = |what: String| {
            let (name, prefix) = (&token.name, token.prefix.to_string());
            let text = format!("the token {name:?} does not reach {what}; it is for {prefix:?}");
            Error::new(Reason::PrefixForbidden, text)
        };
        if !self.knows(remote) {
            return Err(forbidden(format!("the remote {remote:?}")));
        }
        for text in paths {
            let Ok(path) = RemotePath::parse(text) else {
                continue;
            };
            if !self.reaches(remote, &path) {
                return Err(forbidden(format!("{text:?}")).at(*text));
            }
        }
        let refused = match token.mode {
            Mode::Full => false,
            Mode::AppendOnly => act == Act::Change,
            Mode::ReadOnly => act != Act::Read,
        };
        if refused {
            let may = match token.mode {
                Mode::AppendOnly => "only add what is not there yet",
                Mode::ReadOnly | Mode::Full => "only read",
            };
            let error = Error::new(
                Reason::ReadOnly,
                format!("the token {:?} may {may}; use another token", token.name),
            );
            return Err(match paths.first() {
                Some(path) => error.at(*path),
                None => error,
            });
        }
        Ok(())
    }
}
