//! What became of an upload: polling its report, matching it with what was
//! sent, and looking into the folder when the report stays silent
//! ([API §5, §E]).

use std::time::Duration;

use super::upload::Expected;
use crate::fichier::{Client, Emission, Error, Report, Scope, StoredFile, same_name};

/// Waits between questions for the report: 5 minutes in all, because the
/// anti-virus scan may take minutes ([API §5, §J23]).
const PATIENCE: [u64; 16] = [1, 2, 3, 5, 10, 15, 20, 30, 30, 30, 30, 30, 30, 30, 30, 30];
/// The report of an upload whose answer was lost, or that names no file, is
/// asked for about 40 s; then the folder may be listed again.
const SHORT_PATIENCE: usize = 6;

/// What is known about an upload after asking.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// For each expected file, what was stored for it.
    pub(super) matched: Vec<Option<StoredFile>>,
    /// Stored under an expected name, but with another content.
    pub(super) wrong: Vec<(usize, StoredFile)>,
    /// More than was sent, or under a name that was not sent.
    pub(super) surplus: Vec<StoredFile>,
    /// The report did not tell: what was not found may show yet.
    pub(super) lost: bool,
}

impl Outcome {
    fn is_complete(&self) -> bool {
        self.matched.iter().enumerate().all(|(index, found)| {
            found.is_some() || self.wrong.iter().any(|(wrong, _)| *wrong == index)
        })
    }
}

fn same_content(expected: &Expected, stored: &StoredFile) -> bool {
    stored.size.is_none_or(|size| size == expected.size)
        && stored.whirlpool == expected.whirlpool
        && !stored.whirlpool.is_empty()
}

/// Assigns stored files to what was sent, by name, size and checksum, never by
/// position alone: the order of a report is not known ([API §J3]).
pub(super) fn match_links(expected: &[Expected], links: Vec<StoredFile>) -> Outcome {
    let mut outcome = Outcome {
        matched: vec![None; expected.len()],
        ..Outcome::default()
    };
    let mut left = Vec::new();
    for link in links {
        let fits = |(index, wanted): &(usize, &Expected)| {
            outcome.matched[*index].is_none()
                && same_name(&wanted.name, &link.name)
                && same_content(wanted, &link)
        };
        match expected.iter().enumerate().find(fits) {
            Some((index, _)) => outcome.matched[index] = Some(link),
            None => left.push(link),
        }
    }
    for link in left {
        let is_known = outcome
            .matched
            .iter()
            .flatten()
            .any(|matched| matched.url == link.url);
        if is_known {
            continue; // the same file told twice
        }
        let place = expected.iter().enumerate().find(|(index, wanted)| {
            outcome.matched[*index].is_none()
                && !outcome.wrong.iter().any(|(wrong, _)| wrong == index)
                && same_name(&wanted.name, &link.name)
        });
        match place {
            Some((index, _)) => outcome.wrong.push((index, link)),
            None => outcome.surplus.push(link),
        }
    }
    outcome
}

/// Asks for the report until it tells of every file, then looks into the
/// folder. `lost` says that the answer to the upload itself was lost, so that
/// the node may know nothing.
///
/// # Errors
/// When neither can be asked: the outcome stays unknown.
pub(super) async fn find(
    client: &Client,
    scope: Scope,
    emission: &Emission,
    folder: i64,
    expected: &[Expected],
    lost: bool,
) -> Result<Outcome, Error> {
    let mut best = Outcome {
        matched: vec![None; expected.len()],
        ..Outcome::default()
    };
    let mut silent_links = 0;
    for (attempt, pause) in PATIENCE.iter().enumerate() {
        match client.upload_report(emission).await {
            Ok(Report::Stored(links)) => {
                best = match_links(expected, links);
                if best.is_complete() {
                    return Ok(best);
                }
                silent_links += 1;
            }
            Ok(Report::NotReady) => {}
            Err(error) if error.is_transient() => {
                tracing::debug!(%error, "the upload report is not to be had")
            }
            Err(error) => return Err(error),
        }
        if (lost && attempt + 1 >= SHORT_PATIENCE) || silent_links >= SHORT_PATIENCE {
            break;
        }
        tokio::time::sleep(Duration::from_secs(*pause)).await;
    }
    // The report stays incomplete although the files may be there ([API §J24]).
    let listing = client.list_folder(scope, folder).await?;
    let known: Vec<String> = best
        .matched
        .iter()
        .flatten()
        .map(|found| found.url.clone())
        .collect();
    let older = |url: &String| expected.iter().any(|wanted| wanted.older.contains(url));
    let mut links: Vec<StoredFile> = best.matched.drain(..).flatten().collect();
    let mut files = listing.files.unwrap_or_default();
    // What was stored just now is among the newest.
    files.sort_by_key(|file| std::cmp::Reverse(file.time));
    links.extend(
        files
            .into_iter()
            .filter(|file| !known.contains(&file.url) && !older(&file.url))
            .map(|file| StoredFile {
                url: file.url,
                name: file.name,
                size: Some(file.size),
                whirlpool: file.whirlpool,
            }),
    );
    let outcome = match_links(expected, links);
    // What else lies in the folder is none of our business.
    Ok(Outcome {
        matched: outcome.matched,
        wrong: best.wrong,
        surplus: best.surplus,
        lost: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(name: &str, whirlpool: &str) -> Expected {
        Expected {
            name: name.into(),
            size: 1,
            whirlpool: whirlpool.into(),
            older: Vec::new(),
        }
    }

    fn stored(url: &str, name: &str, whirlpool: &str) -> StoredFile {
        StoredFile {
            url: url.into(),
            name: name.into(),
            size: Some(1),
            whirlpool: whirlpool.into(),
        }
    }

    #[test]
    fn links_are_matched_by_name_and_content_in_any_order() {
        let wanted = [
            expected("a", "11"),
            expected("b", "22"),
            expected("a", "33"),
        ];
        let links = vec![
            stored("u3", "a", "33"),
            stored("u2", "b", "22"),
            stored("u1", "a", "11"),
        ];
        let outcome = match_links(&wanted, links);
        let urls: Vec<_> = outcome
            .matched
            .iter()
            .map(|link| link.as_ref().unwrap().url.as_str())
            .collect();
        assert_eq!(urls, ["u1", "u2", "u3"]);
        assert!(outcome.is_complete() && outcome.wrong.is_empty() && outcome.surplus.is_empty());
    }

    #[test]
    fn other_content_under_the_name_is_wrong_and_the_rest_is_surplus() {
        let links = vec![
            stored("u1", "a", "99"),
            stored("u2", "a_", "11"),
            stored("u2", "a_", "11"),
        ];
        let outcome = match_links(&[expected("a", "11")], links);
        assert_eq!(outcome.matched, [None]);
        assert_eq!(outcome.wrong[0].1.url, "u1");
        assert_eq!(outcome.surplus.len(), 2);
        let told_twice = vec![stored("u1", "a", "11"), stored("u1", "a", "11")];
        assert!(
            match_links(&[expected("a", "11")], told_twice)
                .surplus
                .is_empty()
        );
    }

    #[test]
    fn normal_forms_of_unicode_are_the_same_name() {
        let outcome = match_links(&[expected("e\u{301}", "11")], vec![stored("u", "é", "11")]);
        assert!(outcome.is_complete());
    }
}
