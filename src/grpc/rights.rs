//! Whether a caller may do what a request demands.

use tonic::{Extensions, Status};
use tonic_types::StatusExt;

use super::called::Called;
use super::demand::{Demand, Demanding};
use super::status::status;
use crate::access::{Act, Caller, Mode};
use crate::backend::Remotes;
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
    called: &Called,
    request: &mut impl Demanding,
) -> Result<Admitted, Status> {
    if let Demand::Remote(name) | Demand::Paths(_, name, _) = request.demand()
        && let Ok(remote) = remotes.get(name)
    {
        called.concerns(remote.name());
    }
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
    // A name that no remote has is refused like one of another remote.
    let remote = match name {
        "" if matches!(caller, Caller::Holder(_)) => remotes.get("")?.name(),
        name => name,
    };
    caller.check(act, remote, paths)
}
