//! A file and what is known of it.

use std::sync::Arc;

use tokio::time::Instant;

use super::body::Body;

/// What follows `/?` in a link.
pub(super) type FileId = Arc<str>;

/// Domains by their number [API §4.2].
pub(super) const DOMAINS: [&str; 11] = [
    "1fichier.com",
    "alterupload.com",
    "cjoint.net",
    "desfichiers.com",
    "dfichiers.com",
    "megadl.fr",
    "mesfichiers.org",
    "piecejointe.net",
    "pjointe.com",
    "tenvoi.com",
    "dl4free.com",
];

/// Who may download a file [API §7]. An empty one restricts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acl {
    /// Addresses in CIDR notation; only whole addresses are matched here.
    pub ip: Vec<String>,
    /// Countries; loopback has none, so that any entry keeps everyone out.
    pub country: Vec<String>,
    /// Accounts.
    pub email: Vec<String>,
    /// Paying customers only.
    pub premium: bool,
}

#[derive(Debug, Clone)]
pub(super) struct File {
    /// `None` for the upload of a guest.
    pub(super) account: Option<usize>,
    pub(super) folder: u64,
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) whirlpool: Arc<str>,
    /// `None` only for what a listing shows of an earlier state.
    pub(super) body: Option<Arc<Body>>,
    /// Seconds since 1970.
    pub(super) date: i64,
    pub(super) domain: usize,
    pub(super) content_type: &'static str,
    pub(super) pass: Option<String>,
    pub(super) acl: Acl,
    pub(super) cdn: bool,
    pub(super) no_ssl: bool,
    pub(super) inline: bool,
    pub(super) description: String,
    /// When listings begin to show it as it is.
    pub(super) visible: Instant,
    /// When calls begin to know its link.
    pub(super) known: Instant,
    /// The removal code of guests' files.
    pub(super) code: String,
    /// One byte of downloads is wrong.
    pub(super) corrupt: bool,
}

impl File {
    pub(super) fn new(account: Option<usize>, folder: u64, name: String, body: Arc<Body>) -> File {
        File {
            account,
            folder,
            content_type: content_type(&name),
            name,
            size: body.size,
            whirlpool: Arc::clone(&body.whirlpool),
            body: Some(body),
            date: 0,
            domain: 0,
            pass: None,
            acl: Acl::default(),
            cdn: false,
            no_ssl: false,
            inline: false,
            description: String::new(),
            visible: Instant::now(),
            known: Instant::now(),
            code: String::new(),
            corrupt: false,
        }
    }

    /// The link of a file with this id.
    pub(super) fn url(&self, id: &str) -> String {
        file_url(self.domain, id)
    }
}

/// The link of a file: the domain is given by its number.
pub(super) fn file_url(domain: usize, id: &str) -> String {
    let domain = DOMAINS.get(domain).copied().unwrap_or("1fichier.com");
    format!("https://{domain}/?{id}")
}

/// The type the service derives from a name: the sender's is not kept [API §4.3].
pub(super) fn content_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension.to_ascii_lowercase().as_str() {
        "txt" | "log" | "md" => "text/plain",
        "html" | "htm" => "text/html",
        "css" => "text/css",
        "csv" => "text/csv",
        "js" => "application/javascript",
        "json" => "application/json",
        "xml" => "application/xml",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "gz" | "tgz" => "application/gzip",
        "tar" => "application/x-tar",
        "7z" => "application/x-7z-compressed",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "mp3" => "audio/mpeg",
        "flac" => "audio/flac",
        "mp4" => "video/mp4",
        "mkv" => "video/x-matroska",
        "avi" => "video/x-msvideo",
        _ => "application/octet-stream",
    }
}
