//! What 1Fichier's answers say, checked and in plain types.

use serde::Deserialize;
use tokio::time::Instant;

use super::error::{Error, Kind};
use super::lenient::{Flag, Int, List, Text};
use super::{same_name, time};

/// `status` and `message` of any answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Envelope {
    pub(crate) status: Text,
    pub(crate) message: Text,
}

impl Envelope {
    /// A missing status is success ([API §1]).
    pub(crate) fn is_refusal(&self) -> bool {
        self.status
            .0
            .as_deref()
            .is_some_and(|status| status.eq_ignore_ascii_case("KO"))
    }
}

/// A file as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileItem {
    /// Download URL without suffixes: the identity of the file.
    pub url: String,
    /// Stored name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Upload time, seconds since the Unix epoch.
    pub time: Option<i64>,
    /// Whirlpool, 128 lower-case hexadecimal digits; empty when not told.
    pub whirlpool: String,
    /// Media type; empty when not told.
    pub content_type: String,
    /// A password is needed.
    pub password: bool,
    /// Access is restricted.
    pub acl: bool,
    /// Served with CDN credits.
    pub cdn: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawFile {
    url: Text,
    filename: Text,
    size: Int,
    date: Text,
    checksum: Text,
    #[serde(rename = "content-type")]
    type_hyphen: Text,
    content_type: Text,
    pass: Flag,
    acl: Flag,
    cdn: Flag,
}

/// Cuts what does not belong to the identity of a file (`&af=…`, [API §C]).
pub(crate) fn canonical_url(url: &str) -> &str {
    url.split(['&', '#']).next().unwrap_or(url)
}

impl RawFile {
    fn check(self, endpoint: &'static str) -> Result<FileItem, Error> {
        let missing = |what: &str| {
            Error::new(
                endpoint,
                Kind::Malformed,
                format!("1Fichier listed a file without {what}"),
            )
        };
        let url = self
            .url
            .0
            .filter(|url| !url.is_empty())
            .ok_or_else(|| missing("a URL"))?;
        let name = self.filename.0.ok_or_else(|| missing("a name"))?;
        let size = self
            .size
            .0
            .and_then(|size| u64::try_from(size).ok())
            .ok_or_else(|| missing("a size"))?;
        Ok(FileItem {
            url: canonical_url(&url).to_owned(),
            name,
            size,
            time: self.date.0.as_deref().and_then(time::parse),
            whirlpool: self.checksum.0.unwrap_or_default().to_ascii_lowercase(),
            content_type: self
                .type_hyphen
                .0
                .or(self.content_type.0)
                .unwrap_or_default(),
            password: self.pass.0,
            acl: self.acl.0,
            cdn: self.cdn.0,
        })
    }
}

/// A folder as its parent's listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubFolder {
    /// Folder id.
    pub id: i64,
    /// Stored name.
    pub name: String,
    /// When it was made, seconds since the Unix epoch.
    pub time: Option<i64>,
    /// A password is needed.
    pub password: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawFolder {
    id: Int,
    // The swagger's name for it; the real key is `id` ([API §0.2]).
    folder_id: Int,
    name: Text,
    create_date: Text,
    pass: Flag,
}

/// The content of a folder.
#[derive(Clone, Debug, Default)]
pub struct FolderListing {
    /// Sub-folders.
    pub folders: Vec<SubFolder>,
    /// Files; `None` when the answer did not list them.
    pub files: Option<Vec<FileItem>>,
    /// How many files the folder holds, when told.
    pub file_count: Option<u64>,
    /// When 1Fichier was asked; the call may have waited for the budget before.
    pub asked: Option<Instant>,
}

impl FolderListing {
    /// Whether it shows nothing.
    pub fn is_empty(&self) -> bool {
        self.folders.is_empty() && self.files.as_ref().is_none_or(Vec::is_empty)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawListing {
    folder_id: Int,
    files: Int,
    count: Int,
    sub_folders: List<RawFolder>,
    items: List<RawFile>,
}

impl RawListing {
    pub(crate) fn check_folder(
        self,
        endpoint: &'static str,
        asked: i64,
    ) -> Result<FolderListing, Error> {
        if let Some(got) = self.folder_id.0
            && got != asked
        {
            return Err(Error::new(
                endpoint,
                Kind::Malformed,
                format!("1Fichier was asked for folder {asked} and answered for {got}"),
            ));
        }
        let mut folders = Vec::new();
        for raw in self.sub_folders.into_vec() {
            let id = raw.id.0.or(raw.folder_id.0).filter(|id| *id > 0);
            let (Some(id), Some(name)) = (id, raw.name.0) else {
                return Err(Error::new(
                    endpoint,
                    Kind::Malformed,
                    "1Fichier listed a folder without id or name",
                ));
            };
            let time = raw.create_date.0.as_deref().and_then(time::parse);
            folders.push(SubFolder {
                id,
                name,
                time,
                password: raw.pass.0,
            });
        }
        let file_count = self.files.0.and_then(|count| u64::try_from(count).ok());
        let files = match self.items.0 {
            Some(items) => Some(
                items
                    .into_iter()
                    .map(|raw| raw.check(endpoint))
                    .collect::<Result<_, _>>()?,
            ),
            // An empty folder may come without the array ([API §J16]).
            None if file_count == Some(0) => Some(Vec::new()),
            None => None,
        };
        Ok(FolderListing {
            folders,
            files,
            file_count,
            asked: None,
        })
    }

    pub(crate) fn check_files(self, endpoint: &'static str) -> Result<Vec<FileItem>, Error> {
        let count = self.count.0;
        let files: Vec<_> = self
            .items
            .into_vec()
            .into_iter()
            .map(|raw| raw.check(endpoint))
            .collect::<Result<_, _>>()?;
        match count {
            Some(count) if count >= 0 && count as usize != files.len() => Err(Error::new(
                endpoint,
                Kind::Malformed,
                format!(
                    "1Fichier announced {count} files and listed {}",
                    files.len()
                ),
            )),
            _ => Ok(files),
        }
    }
}

/// A file as `file/info` describes it, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// The file.
    pub file: FileItem,
    /// The folder that it is in, when told.
    pub folder: Option<i64>,
    /// The stored names of the folders on the way to it, as told and in a form
    /// that is not certain ([API §7]); `None` when not told.
    pub path: Option<String>,
}

impl FileInfo {
    /// Whether the told path leads through these folders, from the root on, to
    /// the file; `same` compares a stored name with one of them. `None` when no
    /// path was told. A told path may begin with a slash and may end with the
    /// file's own name.
    pub fn is_below(&self, folders: &[&str], same: impl Fn(&str, &str) -> bool) -> Option<bool> {
        let told = self.path.as_deref()?;
        let told: Vec<_> = told.split('/').filter(|name| !name.is_empty()).collect();
        let leads = |told: &[&str]| {
            told.len() == folders.len()
                && told
                    .iter()
                    .zip(folders)
                    .all(|(told, wanted)| same(told, wanted))
        };
        let (last, rest) = match told.split_last() {
            Some((last, rest)) => (*last, rest),
            None => ("", &[][..]),
        };
        Some(leads(&told) || same_name(last, &self.file.name) && leads(rest))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawInfo {
    folder_id: Int,
    path: Text,
    #[serde(flatten)]
    file: RawFile,
}

impl RawInfo {
    /// What is told of a file; what is missing is taken from what is known:
    /// the link that was asked for, or the name.
    pub(crate) fn check(
        mut self,
        endpoint: &'static str,
        url: Option<&str>,
        name: Option<&str>,
    ) -> Result<FileInfo, Error> {
        self.file.url.0 = self.file.url.0.or_else(|| url.map(ToOwned::to_owned));
        self.file.filename.0 = self.file.filename.0.or_else(|| name.map(ToOwned::to_owned));
        Ok(FileInfo {
            folder: self.folder_id.0,
            path: self.path.0,
            file: self.file.check(endpoint)?,
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawMkdir {
    pub(crate) folder_id: Int,
    pub(crate) name: Text,
}

/// One file of an answer to a batch: a plain URL (file/rm, file/mv), a pair
/// (file/cp), or a renamed file ([API §9 to §12]).
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawDone {
    Url(String),
    Pair {
        from_url: String,
        to_url: String,
    },
    Renamed {
        url: String,
        new_filename: Option<String>,
    },
    Unknown(serde::de::IgnoredAny),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawBatch {
    removed: Int,
    moved: Int,
    copied: Int,
    renamed: Int,
    updated: Int,
    urls: List<RawDone>,
    filename: Text,
}

/// What became of a batch of files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The files that were done: the URL that was sent, and the URL that the
    /// file (or its copy) has now.
    pub done: Vec<(String, String)>,
    /// More was done than the answer tells of.
    pub untold: bool,
    /// The name that a renamed file has now, when told.
    pub name: Option<String>,
}

impl RawBatch {
    fn count(&self) -> Option<usize> {
        let count = [
            self.removed,
            self.moved,
            self.copied,
            self.renamed,
            self.updated,
        ];
        let told = count.into_iter().find_map(|count| count.0)?;
        Some(usize::try_from(told).unwrap_or(0))
    }

    /// Which of the files that were sent were done. Their URLs are taken to be
    /// the same when none are told.
    pub(crate) fn check(self, sent: &[String]) -> Batch {
        let all = self.count().is_none_or(|count| count == sent.len());
        let mut batch = self.check_moved(sent);
        if batch.done.is_empty() && all {
            // Nothing is told but that all is well.
            batch.done = sent.iter().map(|url| (url.clone(), url.clone())).collect();
        }
        Batch {
            untold: false,
            ..batch
        }
    }

    /// The same for what may have another URL afterwards ([API §J13]).
    pub(crate) fn check_moved(self, sent: &[String]) -> Batch {
        let count = self.count();
        let mut name = self.filename.0;
        let mut urls = Vec::new();
        for file in self.urls.into_vec() {
            match file {
                RawDone::Url(url) => urls.push(canonical_url(&url).to_owned()),
                RawDone::Renamed { url, new_filename } => {
                    urls.push(canonical_url(&url).to_owned());
                    name = name.or(new_filename);
                }
                RawDone::Pair { .. } | RawDone::Unknown(_) => {}
            }
        }
        let told = urls.len();
        let all = count.is_none_or(|count| count == sent.len());
        let done: Vec<_> =
            if all && told == sent.len() && !urls.iter().all(|url| sent.contains(url)) {
                // The order is all there is then.
                sent.iter().cloned().zip(urls).collect()
            } else {
                let known = |url: &&String| urls.iter().any(|told| same_file(told, url));
                let known = sent.iter().filter(known);
                known.map(|url| (url.clone(), url.clone())).collect()
            };
        let untold = count.map_or(told == 0, |count| count > done.len());
        Batch { done, untold, name }
    }

    /// The same for copies, which always have another URL.
    pub(crate) fn check_copied(self, sent: &[String]) -> Batch {
        let count = self.count();
        let name = self.filename.0;
        let files = self.urls.into_vec();
        let told = files.len();
        let done: Vec<_> = files
            .into_iter()
            .filter_map(|file| {
                let RawDone::Pair { from_url, to_url } = file else {
                    return None;
                };
                let (from, to) = (canonical_url(&from_url), canonical_url(&to_url));
                let from = sent.iter().find(|sent| same_file(sent, from))?;
                let is_new = !to.is_empty() && !same_file(from, to);
                is_new.then(|| (from.clone(), to.to_owned()))
            })
            .collect();
        let untold = count.map_or(told == 0, |count| count > done.len());
        Batch { done, untold, name }
    }
}

fn same_file(left: &str, right: &str) -> bool {
    left == right || left.rsplit('?').next() == right.rsplit('?').next()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawToken {
    pub(crate) url: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawUploadServer {
    pub(crate) url: Text,
    pub(crate) id: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawLink {
    download: Text,
    filename: Text,
    size: Int,
    whirlpool: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawReport {
    links: List<RawLink>,
}

/// A file that an upload stored, as end.pl tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Download URL.
    pub url: String,
    /// Stored name.
    pub name: String,
    /// Bytes, when told.
    pub size: Option<u64>,
    /// Whirlpool, lower-case; empty when not told.
    pub whirlpool: String,
}

impl RawReport {
    pub(crate) fn stored(self) -> Vec<StoredFile> {
        let link = |raw: RawLink| {
            Some(StoredFile {
                url: canonical_url(&raw.download.0?).to_owned(),
                name: raw.filename.0?,
                size: raw.size.0.and_then(|size| u64::try_from(size).ok()),
                whirlpool: raw.whirlpool.0.unwrap_or_default().to_ascii_lowercase(),
            })
        };
        self.links.into_vec().into_iter().filter_map(link).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fichier::lenient;

    fn batch(text: &str) -> RawBatch {
        lenient::parse("test", text.as_bytes()).unwrap()
    }

    fn pair(from: &str, to: &str) -> (String, String) {
        (format!("https://x/?{from}"), format!("https://x/?{to}"))
    }

    #[test]
    fn batches_tell_what_was_done() {
        let sent = ["https://x/?a".to_owned(), "https://x/?b".to_owned()];
        let done = |text: &str| batch(text).check(&sent).done;
        assert_eq!(
            done(r#"{"removed":2}"#).len(),
            2,
            "no list: the count counts"
        );
        assert_eq!(
            done(r#"{"removed":"1","urls":["https://x/?b&af=1"]}"#),
            [pair("b", "b")]
        );
        assert_eq!(done(r#"{"removed":0,"urls":[]}"#), []);
    }

    #[test]
    fn moved_files_may_have_other_urls() {
        let sent = ["https://x/?a".to_owned(), "https://x/?b".to_owned()];
        let moved = |text: &str| {
            let batch = batch(text).check_moved(&sent);
            (batch.done, batch.untold)
        };
        assert_eq!(
            moved(r#"{"moved":2,"urls":["https://x/?c","https://x/?d"]}"#),
            (vec![pair("a", "c"), pair("b", "d")], false)
        );
        assert_eq!(
            moved(r#"{"moved":2,"urls":["https://x/?b","https://x/?a"]}"#),
            (vec![pair("a", "a"), pair("b", "b")], false)
        );
        assert_eq!(
            moved(r#"{"moved":1,"urls":["https://x/?b"]}"#),
            (vec![pair("b", "b")], false)
        );
        // Where the files are now, nobody says.
        for untold in [r#"{"moved":2,"urls":[]}"#, r#"{"status":"OK"}"#] {
            assert_eq!(moved(untold), (vec![], true), "{untold}");
        }
        assert_eq!(
            moved(r#"{"moved":1,"urls":["https://x/?new"]}"#),
            (vec![], true)
        );
        assert_eq!(moved(r#"{"moved":0,"urls":[]}"#), (vec![], false));
        let renamed = batch(r#"{"renamed":1,"urls":[{"url":"https://x/?a","new_filename":"n"}]}"#)
            .check_moved(&sent[..1]);
        assert_eq!(renamed.done, [pair("a", "a")]);
        assert_eq!(renamed.name.as_deref(), Some("n"));
        let none = batch(r#"{"renamed":0,"urls":null}"#).check_moved(&sent[..1]);
        assert_eq!((none.done, none.untold), (vec![], false));
    }

    #[test]
    fn copies_have_urls_of_their_own() {
        let sent = ["https://x/?a".to_owned(), "https://x/?b".to_owned()];
        let copied = |text: &str| {
            let batch = batch(text).check_copied(&sent);
            (batch.done, batch.untold)
        };
        assert_eq!(
            copied(r#"{"copied":1,"urls":[{"from_url":"https://x/?a","to_url":"https://x/?e"}]}"#),
            (vec![pair("a", "e")], false)
        );
        for untold in [
            r#"{"copied":2,"urls":[]}"#,
            r#"{"copied":2,"urls":["https://x/?a"]}"#,
            r#"{"copied":1,"urls":[{"from_url":"https://x/?a","to_url":"https://x/?a"}]}"#,
            r#"{"status":"OK"}"#,
        ] {
            assert_eq!(copied(untold), (vec![], true), "{untold}");
        }
    }
}
