//! What 1Fichier's answers say, checked and in plain types.

use serde::Deserialize;

use super::error::{Error, Kind};
use super::lenient::{Flag, Int, List, Text};
use super::time;

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

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawInfo {
    pub(crate) folder_id: Int,
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
    Pair { from_url: String, to_url: String },
    Renamed { url: String },
    Unknown(serde::de::IgnoredAny),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawBatch {
    removed: Int,
    moved: Int,
    copied: Int,
    renamed: Int,
    urls: List<RawDone>,
}

/// What became of a batch of files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The files that were done: the URL that was sent, and the URL that the
    /// file (or its copy) has now.
    pub done: Vec<(String, String)>,
}

impl RawBatch {
    /// Which of the files that were sent were done.
    pub(crate) fn check(self, sent: &[String]) -> Batch {
        let count = self
            .removed
            .0
            .or(self.moved.0)
            .or(self.copied.0)
            .or(self.renamed.0);
        let told = self.urls.into_vec();
        let all = count.is_none_or(|count| usize::try_from(count) == Ok(sent.len()));
        let mut urls = Vec::new();
        let mut done = Vec::new();
        for file in told {
            match file {
                RawDone::Pair { from_url, to_url } => {
                    done.push((
                        canonical_url(&from_url).to_owned(),
                        canonical_url(&to_url).to_owned(),
                    ));
                }
                RawDone::Url(url) | RawDone::Renamed { url } => {
                    urls.push(canonical_url(&url).to_owned())
                }
                RawDone::Unknown(_) => {}
            }
        }
        if !done.is_empty() {
            done.retain(|(from, _)| sent.iter().any(|sent| same_file(sent, from)));
        } else if urls.is_empty() && all {
            // Nothing is told but that all is well.
            done = sent.iter().map(|url| (url.clone(), url.clone())).collect();
        } else if all && urls.len() == sent.len() && !urls.iter().all(|url| sent.contains(url)) {
            // URLs may change ([API §J13]); the order is all there is then.
            done = sent.iter().cloned().zip(urls).collect();
        } else {
            let known = |url: &&String| urls.iter().any(|told| same_file(told, url));
            done = sent
                .iter()
                .filter(known)
                .map(|url| (url.clone(), url.clone()))
                .collect();
        }
        Batch { done }
    }

    /// The URL of the one file that was renamed.
    pub(crate) fn renamed(self, sent: &str) -> Option<String> {
        let sent = [sent.to_owned()];
        self.check(&sent).done.pop().map(|(_, now)| now)
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

    #[test]
    fn batches_tell_what_was_done() {
        let sent = ["https://x/?a".to_owned(), "https://x/?b".to_owned()];
        let done = |text: &str| -> Vec<(String, String)> {
            lenient::parse::<RawBatch>("test", text.as_bytes())
                .unwrap()
                .check(&sent)
                .done
        };
        let pair =
            |from: &str, to: &str| (format!("https://x/?{from}"), format!("https://x/?{to}"));
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
        assert_eq!(
            done(r#"{"moved":2,"urls":["https://x/?c","https://x/?d"]}"#),
            [pair("a", "c"), pair("b", "d")]
        );
        assert_eq!(
            done(r#"{"moved":2,"urls":["https://x/?b","https://x/?a"]}"#),
            [pair("a", "a"), pair("b", "b")]
        );
        assert_eq!(
            done(r#"{"copied":1,"urls":[{"from_url":"https://x/?a","to_url":"https://x/?e"}]}"#),
            [pair("a", "e")]
        );
        let one = lenient::parse::<RawBatch>(
            "test",
            br#"{"renamed":1,"urls":[{"url":"https://x/?a","new_filename":"n"}]}"#,
        );
        assert_eq!(
            one.unwrap().renamed("https://x/?a").as_deref(),
            Some("https://x/?a")
        );
        let none = lenient::parse::<RawBatch>("test", br#"{"renamed":0,"urls":null}"#).unwrap();
        assert_eq!(none.renamed("https://x/?a"), None);
    }
}
