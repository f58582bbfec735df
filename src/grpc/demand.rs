//! What each request demands of its caller: paths that it must reach, and what
//! it must be allowed to do there. A request without an answer here does not
//! compile.

use crate::access::Act;
use crate::proto::*;

/// What a request demands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Demand<'a> {
    /// Nothing: the answer is cut to what the caller may know.
    Nothing,
    /// To know the remote: facts of the account, not of a path.
    Remote(&'a str),
    /// To do this to all of these paths of the remote.
    Paths(Act, &'a str, Vec<&'a str>),
}

/// A request that says what it demands.
pub(super) trait Demanding {
    /// What it demands.
    fn demand(&self) -> Demand<'_>;

    /// How it treats a file that is there already, if it says so.
    fn write_mode(&mut self) -> Option<&mut i32> {
        None
    }
}

macro_rules! demanding {
    ($($request:ident: $message:ident => $demand:expr;)+) => {$(
        impl Demanding for $request {
            fn demand(&self) -> Demand<'_> {
                let $message = self;
                $demand
            }
        }
    )+};
}

use Act::{Change, Read};
use Demand::{Nothing, Paths, Remote};

demanding! {
    GetInfoRequest: _request => Nothing;
    AboutRequest: request => Remote(&request.remote);
    // The small file of the test of writing is put into the root, and removed.
    TestConnectionRequest: request => match request.check_write {
        true => Paths(Change, &request.remote, vec![""]),
        false => Remote(&request.remote),
    };
    // A token of a page is of no use in a listing of another directory.
    ListRequest: request => Paths(Read, &request.remote, vec![&request.path]);
    StatRequest: request => Paths(Read, &request.remote, vec![&request.path]);
    HashRequest: request => Paths(Read, &request.remote, vec![&request.path]);
    GetRequest: request => Paths(Read, &request.remote, vec![&request.path]);
    DeleteRequest: request => {
        let targets = request.targets.iter().map(|target| target.path.as_str());
        Paths(Change, &request.remote, targets.collect())
    };
    MkdirRequest: request => Paths(Act::Add, &request.remote, vec![&request.path]);
    RmdirRequest: request => Paths(Change, &request.remote, vec![&request.path]);
    PurgeRequest: request => Paths(Change, &request.remote, vec![&request.path]);
    MoveRequest: request => {
        Paths(Change, &request.remote, vec![&request.source_path, &request.destination_path])
    };
    MoveDirRequest: request => {
        Paths(Change, &request.remote, vec![&request.source_path, &request.destination_path])
    };
    // What is public outlives the token.
    PublicLinkRequest: request => Paths(Change, &request.remote, vec![&request.path]);
    DedupeRequest: request => {
        let act = match request.mode() {
            DedupeMode::Unspecified | DedupeMode::Report => Read,
            _ => Change,
        };
        Paths(act, &request.remote, vec![&request.path])
    };
    RefreshRequest: request => Paths(Read, &request.remote, vec![&request.path]);
    GetActivityRequest: request => match request.remote.as_str() {
        "" => Nothing,
        remote => Remote(remote),
    };
}

impl Demanding for CopyRequest {
    fn demand(&self) -> Demand<'_> {
        let paths = vec![&*self.source_path, &*self.destination_path];
        Paths(Act::Add, &self.remote, paths)
    }

    fn write_mode(&mut self) -> Option<&mut i32> {
        Some(&mut self.write_mode)
    }
}

/// Stands for the whole stream of Put.
impl Demanding for PutHeader {
    fn demand(&self) -> Demand<'_> {
        // An etag names a file that is to be replaced.
        let act = match self.if_match_etag.as_str() {
            "" => Act::Add,
            _ => Change,
        };
        Paths(act, &self.remote, vec![&self.path])
    }

    fn write_mode(&mut self) -> Option<&mut i32> {
        Some(&mut self.write_mode)
    }
}
