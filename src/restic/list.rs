//! Listings: one array of all objects of a kind, complete or not at all.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, StatusCode, header};

use super::address::{Kind, Name};
use crate::backend::{EntryKind, ListOptions, MAX_PAGE, Remote, RemotePath};
use crate::error::{Error, Reason};
use crate::fichier::Scope;
use crate::http::{Body, Call, Failure, Response, scope};

const V1: &str = "application/vnd.x.restic.rest.v1";
const V2: &str = "application/vnd.x.restic.rest.v2";
/// Most objects of one answer, which are held while it is sent: 40 bytes each.
/// Of packs of 16 MiB, 30 TB.
const MAX_OBJECTS: usize = 2_000_000;
/// Objects of one piece of an answer.
const PIECE: usize = 1_000;
/// How old what is known of packs may be, as long as no other program wrote an
/// index. Their names are those of their contents, so that only a pack that
/// another program removed or brought is told wrongly; and to look into 256
/// directories anew takes a quarter of an hour.
const PACKS: Duration = Duration::from_secs(24 * 3600);
/// Packs come before the index that names them. They show this long after it at
/// the latest, and clocks may differ as much.
const LAG: Duration = Duration::from_secs(60);

/// A name and a size.
type Found = (Name, u64);

/// Answers with all objects of a kind. None, and no directory, are `[]`.
pub(super) async fn list(
    call: &Call,
    kind: Kind,
    path: &RemotePath,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    let scope = scope(kind.priority());
    let found = gather(&call.remote, scope, kind, path);
    let found: Arc<[Found]> = call.remote.within(scope, found).await?.into();
    let sized = headers
        .get(header::ACCEPT)
        .is_some_and(|accepted| accepted == V2);
    // restic compares it as a text.
    let content_type = if sized { V2 } else { V1 };
    let length = length(&found, sized);
    let response = http::Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::CONTENT_LENGTH, length)
        .body(Body::from_stream(stream::iter(pieces(found, sized))));
    response.map_err(|error| Error::internal(format!("an answer is no HTTP: {error}")).into())
}

/// All of them. A directory that cannot be read fails it: what is missing here
/// is lost to restic.
async fn gather(
    remote: &Remote,
    scope: Scope,
    kind: Kind,
    path: &RemotePath,
) -> Result<Vec<Found>, Error> {
    let depth = if kind == Kind::Data { 2 } else { 1 };
    let staleness = match kind {
        Kind::Data => Some(age_of_packs(remote, scope, path).await?),
        _ => None,
    };
    let options = ListOptions {
        recursive: depth > 1,
        max_depth: depth,
        only: Some(EntryKind::File),
        page_size: MAX_PAGE,
        bare: true,
        staleness,
        ..ListOptions::default()
    };
    let mut listing = match remote.list(scope, path, options).await {
        Ok(listing) => listing,
        Err(error) if error.reason() == Reason::DirectoryNotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    while let Some(page) = listing.next().await {
        if let Some((_, error)) = page.failures.into_iter().next() {
            return Err(unknown(error));
        }
        for entry in page.entries {
            let below = entry.path.as_str().strip_prefix(path.as_str());
            let name = below.and_then(|below| name_of(kind, below.trim_start_matches('/')));
            if let (Some(name), Some(size)) = (name, entry.size) {
                found.push((name, size));
            }
        }
        if found.len() > MAX_OBJECTS {
            let text = format!(
                "{path:?} has more than {MAX_OBJECTS} files, which are not listed at once; make a new repository, \
                 with larger packs"
            );
            return Err(Error::new(Reason::InternalError, text).at(path.as_str()));
        }
        if page.last {
            break;
        }
    }
    Ok(found)
}

/// How old what is known of packs may be: it must be younger than any index that
/// another program wrote.
async fn age_of_packs(remote: &Remote, scope: Scope, data: &RemotePath) -> Result<Duration, Error> {
    let Some((repository, _)) = data.split() else {
        return Ok(PACKS);
    };
    let index = repository.join(Kind::Index.as_str());
    match remote.changed_by_others(scope, &index).await {
        Ok(Some(age)) => Ok(age.saturating_sub(LAG).clamp(LAG / 2, PACKS)),
        Ok(None) => Ok(PACKS),
        Err(error) if error.reason() == Reason::DirectoryNotFound => Ok(PACKS),
        Err(error) => Err(error),
    }
}

/// A directory that is gone by the time it is read must not look like an empty
/// one: the next listing knows.
fn unknown(error: Error) -> Error {
    match error.reason() {
        Reason::DirectoryNotFound => Error::new(
            Reason::UpstreamUnavailable,
            "a directory of the repository was removed while it was listed; try again",
        )
        .retry_after(Duration::from_secs(1)),
        _ => error,
    }
}

/// The name of an object at this place below the directory of its kind.
fn name_of(kind: Kind, below: &str) -> Option<Name> {
    match (kind, below.split_once('/')) {
        (Kind::Data, Some((directory, name))) if name.starts_with(directory) => {
            Name::parse(name).filter(|_| directory.len() == 2)
        }
        (Kind::Data, _) | (_, Some(_)) => None,
        (_, None) => Name::parse(below),
    }
}

fn write(out: &mut String, (name, size): Found, sized: bool) {
    match sized {
        true => out.push_str(&format!(
            "{{\"name\":\"{}\",\"size\":{size}}}",
            name.to_hex()
        )),
        false => out.push_str(&format!("\"{}\"", name.to_hex())),
    }
}

/// Bytes of the answer.
fn length(found: &[Found], sized: bool) -> usize {
    let entry = |(_, size): &Found| match sized {
        true => r#"{"name":"","size":}"#.len() + 64 + digits(*size),
        false => 2 + 64,
    };
    let commas = found.len().saturating_sub(1);
    2 + commas + found.iter().map(entry).sum::<usize>()
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// The answer, in pieces.
fn pieces(found: Arc<[Found]>, sized: bool) -> impl Iterator<Item = Result<Bytes, Infallible>> {
    let count = found.len().div_ceil(PIECE).max(1);
    (0..count).map(move |piece| {
        let begin = piece * PIECE;
        let end = found.len().min(begin + PIECE);
        let mut out = String::with_capacity((end - begin) * 100 + 2);
        if piece == 0 {
            out.push('[');
        }
        for (index, entry) in found[begin..end].iter().enumerate() {
            if begin + index > 0 {
                out.push(',');
            }
            write(&mut out, *entry, sized);
        }
        if piece + 1 == count {
            out.push(']');
        }
        Ok(Bytes::from(out))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(count: usize, sized: bool) -> String {
        let found: Vec<Found> = (0..count)
            .map(|index| (Name([index as u8; 32]), 10_u64.pow(index as u32 % 20)))
            .collect();
        let announced = length(&found, sized);
        let text: Vec<u8> = pieces(found.into(), sized)
            .flat_map(|piece| piece.unwrap())
            .collect();
        assert_eq!(text.len(), announced, "of {count}");
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_answer_is_one_array_of_the_announced_length() {
        assert_eq!(all(0, true), "[]");
        assert_eq!(all(0, false), "[]");
        let hex = "00".repeat(32);
        assert_eq!(all(1, true), format!(r#"[{{"name":"{hex}","size":1}}]"#));
        assert_eq!(all(1, false), format!(r#"["{hex}"]"#));
        for count in [2, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE] {
            for sized in [true, false] {
                let array: serde_json::Value = serde_json::from_str(&all(count, sized)).unwrap();
                assert_eq!(array.as_array().unwrap().len(), count);
            }
        }
        assert_eq!(
            (digits(0), digits(9), digits(10), digits(u64::MAX)),
            (1, 1, 2, 20)
        );
    }

    #[test]
    fn only_what_lies_where_it_belongs_is_listed() {
        let name = "ab".repeat(32);
        assert!(name_of(Kind::Data, &format!("ab/{name}")).is_some());
        assert!(name_of(Kind::Keys, &name).is_some());
        for below in [
            name.clone(),
            format!("ac/{name}"),
            format!("a/{name}"),
            format!("/{name}"),
            "ab/file".to_owned(),
        ] {
            assert!(name_of(Kind::Data, &below).is_none(), "{below}");
        }
        assert!(name_of(Kind::Index, &format!("ab/{name}")).is_none());
        assert!(name_of(Kind::Locks, "file").is_none());
    }
}
