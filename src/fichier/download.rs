//! Reading from a download URL ([API §F]).

use std::time::Duration;

use bytes::Bytes;
use reqwest::{StatusCode, Url, header};

use super::Client;
use super::error::{Error, Kind};
use crate::spans;

const ENDPOINT: &str = "download";
/// How long a download server may be silent.
const SILENCE: Duration = Duration::from_secs(60);
const REDIRECTS: usize = 5;

/// The bytes of one range, as they arrive.
#[derive(Debug)]
pub struct Download {
    response: reqwest::Response,
    remaining: u64,
}

impl Client {
    /// Asks for `length` bytes from `offset` of a file of `size` bytes. No
    /// key is sent: the URL is its own secret ([API §B]).
    ///
    /// # Errors
    /// [`Kind::Token`] when the answer is anything but those bytes: the URL
    /// has expired, or the server ignores ranges.
    pub async fn download(
        &self,
        url: &Url,
        offset: u64,
        length: u64,
        size: u64,
    ) -> Result<Download, Error> {
        let span = spans::upstream("GET", ENDPOINT, None);
        let request = self.open(url, offset, length, size);
        self.tally.ask(ENDPOINT, span, request).await
    }

    async fn open(
        &self,
        url: &Url,
        offset: u64,
        length: u64,
        size: u64,
    ) -> Result<Download, Error> {
        let whole = offset == 0 && length == size;
        let mut url = url.clone();
        for _ in 0..REDIRECTS {
            let mut request = self.nodes.get(url.clone());
            if !whole {
                request = request.header(
                    header::RANGE,
                    format!("bytes={offset}-{}", offset + length - 1),
                );
            }
            let response = tokio::time::timeout(SILENCE, request.send())
                .await
                .map_err(|_| silent())?
                .map_err(|error| Error::transport(ENDPOINT, error))?;
            if response.status().is_redirection() {
                let target = response
                    .headers()
                    .get(header::LOCATION)
                    .and_then(|target| target.to_str().ok())
                    .ok_or_else(|| not_content("a redirect to nowhere"))?;
                url = self.hosts.follow(ENDPOINT, &url, target)?;
                continue;
            }
            check(&response, offset, length, size, whole)?;
            return Ok(Download {
                response,
                remaining: length,
            });
        }
        Err(not_content("too many redirects"))
    }
}

fn silent() -> Error {
    Error::new(
        ENDPOINT,
        Kind::Broken,
        format!("no data for {} s", SILENCE.as_secs()),
    )
}

fn not_content(what: &str) -> Error {
    Error::new(
        ENDPOINT,
        Kind::Token,
        format!("the download server answered {what}"),
    )
}

fn check(
    response: &reqwest::Response,
    offset: u64,
    length: u64,
    size: u64,
    whole: bool,
) -> Result<(), Error> {
    let status = response.status();
    let text = |name| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    if status.is_server_error() {
        return Err(Error::new(
            ENDPOINT,
            Kind::Server,
            format!("HTTP {}", status.as_u16()),
        ));
    }
    // A file may be HTML itself; then it comes with a Content-Disposition.
    let is_page = text(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"))
        && text(header::CONTENT_DISPOSITION).is_none();
    if is_page {
        return Err(not_content("a page instead of the content"));
    }
    match status {
        StatusCode::PARTIAL_CONTENT => {
            let expected = format!("bytes {offset}-{}/{size}", offset + length - 1);
            match text(header::CONTENT_RANGE) {
                Some(range) if range == expected => {}
                other => {
                    return Err(not_content(&format!(
                        "range {other:?} instead of {expected:?}"
                    )));
                }
            }
        }
        StatusCode::OK if whole => {}
        StatusCode::OK => return Err(not_content("the whole file although a part was asked for")),
        other => return Err(not_content(&format!("HTTP {}", other.as_u16()))),
    }
    match response.content_length() {
        Some(announced) if announced != length => Err(not_content(&format!(
            "{announced} bytes instead of {length}"
        ))),
        _ => Ok(()),
    }
}

impl Download {
    /// The next bytes; `None` at the end of the range.
    ///
    /// # Errors
    /// When the connection breaks, is silent for a minute, or gives more or
    /// fewer bytes than announced.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.remaining == 0 {
            return Ok(None);
        }
        let chunk = tokio::time::timeout(SILENCE, self.response.chunk())
            .await
            .map_err(|_| silent())?
            .map_err(|error| Error::transport(ENDPOINT, error))?;
        match chunk {
            Some(bytes) if bytes.len() as u64 <= self.remaining => {
                self.remaining -= bytes.len() as u64;
                Ok(Some(bytes))
            }
            Some(_) => Err(Error::new(
                ENDPOINT,
                Kind::Broken,
                "more bytes than announced",
            )),
            None => Err(Error::new(
                ENDPOINT,
                Kind::Broken,
                "the content ended early",
            )),
        }
    }
}
