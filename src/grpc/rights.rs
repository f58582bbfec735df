//! Whether a caller may do what a request demands.

use tonic::{Extensions, Status};
use tonic_types::StatusExt;

use super::demand::{Act, Demand, Demanding};
use super::status::status;
use crate::access::{Caller, Mode};
use crate::backend::{RemotePath, Remotes};
use crate::error::{Error, Reason};
use crate::proto::WriteMode;

/// Who makes the call. The gate puts that into every request; a request that
/// went past it is nobody's.
pub(super) fn caller(extensions: &Extensions) -> Result<Caller, Status> {
    let caller = extensions.get::<Caller>().cloned();
    caller.ok_or_else(|| status(&no_token()))
}

/// A call without a valid token.
pub fn no_token() -> Error {
    Error::new(
        Reason::TokenInvalid,
        "a valid token is needed: send the metadata \"authorization: Bearer TOKEN\" with one that \
         pluton-fichier token create has made",
    )
}

/// What became of a request that is admitted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitted {
    /// It may not replace, though it asked to.
    narrowed: bool,
}

impl Admitted {
    /// The failure as the caller is to see it.
    pub(super) fn failure(self, failure: Status) -> Status {
        let details = failure.get_error_details();
        let is_there = details
            .error_info()
            .filter(|info| info.reason == Reason::EntryExists.as_str());
        match is_there {
            Some(info) if self.narrowed => {
                let path = info.metadata.get("path").cloned().unwrap_or_default();
                let error = Error::new(
                    Reason::ReadOnly,
                    format!(
                        "there is something at {path:?} already, and the token may only add; choose another path"
                    ),
                );
                status(&error.at(path))
            }
            _ => failure,
        }
    }
}

/// Checks a request, and takes from it what the caller may not do.
pub(super) fn admit(
    caller: &Caller,
    remotes: &Remotes,
    request: &mut impl Demanding,
) -> Result<Admitted, Status> {
    check(caller, remotes, &request.demand()).map_err(|error| status(&error))?;
    let mut narrowed = false;
    if caller.mode() == Mode::AppendOnly
        && let Some(mode) = request.write_mode()
        && *mode != i32::from(WriteMode::CreateOnly)
        // Other values are refused later.
        && WriteMode::try_from(*mode).is_ok()
    {
        *mode = WriteMode::CreateOnly.into();
        narrowed = true;
    }
    Ok(Admitted { narrowed })
}

fn check(caller: &Caller, remotes: &Remotes, demand: &Demand<'_>) -> Result<(), Error> {
    let (act, name, paths) = match demand {
        Demand::Nothing => return Ok(()),
        Demand::Remote(name) => (Act::Read, *name, &[][..]),
        Demand::Paths(act, name, paths) => (*act, *name, paths.as_slice()),
    };
    let Caller::Holder(token) = caller else {
        return Ok(());
    };
    // A name that no remote has is refused like one of another remote.
    let remote = match name {
        "" => remotes.get("")?.name(),
        name => name,
    };
    if !caller.knows(remote) {
        return Err(Error::new(
            Reason::PrefixForbidden,
            format!(
                "the token {:?} does not reach the remote {remote:?}; it is for {:?}",
                token.name,
                token.prefix.to_string()
            ),
        ));
    }
    for text in paths {
        // What is no path leads nowhere: the backend takes only those that are.
        let Ok(path) = RemotePath::parse(text) else {
            continue;
        };
        if !caller.reaches(remote, &path) {
            return Err(Error::new(
                Reason::PrefixForbidden,
                format!(
                    "the token {:?} does not reach {text:?}; it is for {:?}",
                    token.name,
                    token.prefix.to_string()
                ),
            )
            .at(*text));
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
