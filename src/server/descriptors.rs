//! How many files and sockets may be open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// For the accounts: transfers, buffers, the catalog, the log.
const OWN: u64 = 512;

/// Raises the limit to what the system allows. Returns how many connections
/// each of the listeners may have, at most as many as are wanted.
pub(super) fn places(wanted: usize, listeners: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || (limit.current.is_some() && limit.maximum.is_none()) {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!(%error, "the limit of open files cannot be raised");
        }
    }
    let Some(open) = getrlimit(Resource::Nofile).current else {
        return wanted;
    };
    let fitting = share(open, listeners);
    if fitting >= wanted {
        return wanted;
    }
    tracing::warn!(
        "{open} files may be open at once, so that each address takes {fitting} connections and not {wanted}; \
         raise the limit (ulimit -n, LimitNOFILE=), or lower --max-connections"
    );
    fitting
}

fn share(open: u64, listeners: usize) -> usize {
    // Half of a small limit is for the accounts.
    let free = open.saturating_sub(OWN).max(open / 2);
    let each = free / u64::try_from(listeners.max(1)).unwrap_or(u64::MAX);
    usize::try_from(each).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accounts_keep_their_part() {
        assert_eq!(share(10_512, 1), 10_000);
        assert_eq!(share(10_512, 2), 5_000);
        assert_eq!(share(256, 2), 64);
        assert_eq!(share(0, 0), 1);
    }

    #[test]
    fn no_more_than_wanted() {
        assert_eq!(places(1, 1), 1);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
