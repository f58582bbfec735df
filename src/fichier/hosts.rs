//! Which hosts this program talks to: the API's and its nodes', nothing else.

use std::net::IpAddr;

use reqwest::Url;

use super::error::{Error, Kind};

/// Where the API is, and which hosts its answers may name.
#[derive(Clone, Debug)]
pub struct Hosts {
    api: Url,
    loopback: bool,
}

pub(super) const DOMAIN: &str = "1fichier.com";
/// Other domains that links of files are on; a file belongs to the one that it
/// was uploaded for ([API §4.2, §C]).
const FILE_DOMAINS: [&str; 10] = [
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

/// Whether links of files may be on a host.
pub(super) fn is_file_host(host: &str) -> bool {
    host == DOMAIN || FILE_DOMAINS.contains(&host)
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            bare.parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
        }
        None => false,
    }
}

fn in_domain(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        host == DOMAIN
            || host
                .strip_suffix(DOMAIN)
                .is_some_and(|prefix| prefix.ends_with('.'))
    })
}

impl Hosts {
    /// Reads the URL of the API, for example `https://api.1fichier.com/v1`.
    ///
    /// # Errors
    /// A text for the user when it is no URL, or plain http beyond loopback,
    /// which would send the API key in the clear.
    pub fn new(api_url: &str) -> Result<Self, String> {
        let mut api =
            Url::parse(api_url).map_err(|error| format!("{api_url:?} is no URL: {error}"))?;
        if !api.path().ends_with('/') {
            api.set_path(&format!("{}/", api.path()));
        }
        let loopback = is_loopback(&api);
        match api.scheme() {
            "https" => Ok(Self {
                api,
                loopback: false,
            }),
            "http" if loopback => Ok(Self {
                api,
                loopback: true,
            }),
            "http" => Err(format!(
                "{api_url} would send the API key unencrypted; plain http is for loopback addresses only"
            )),
            _ => Err(format!("{api_url} must begin with https://")),
        }
    }

    /// Whether the API is an emulator on this machine.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }

    pub(crate) fn api(&self, endpoint: &str) -> Url {
        let mut url = self.api.clone();
        url.set_path(&format!("{}{endpoint}.cgi", self.api.path()));
        url
    }

    /// The page of a shared folder: on the website, which an emulator serves
    /// beside its API.
    pub(crate) fn shared_folder(&self, id: &str) -> Url {
        let mut url = self.api.clone();
        if !self.loopback && url.set_host(Some(DOMAIN)).is_err() {
            // A host name can always be set in an https URL.
            tracing::error!("the URL of a shared folder cannot be made");
        }
        url.set_path(&format!("/dir/{id}"));
        url.set_query(Some("json=1"));
        url
    }

    fn check(&self, endpoint: &'static str, url: Url) -> Result<Url, Error> {
        let allowed = (url.scheme() == "https" && in_domain(&url))
            || (self.loopback && url.scheme() == "http" && is_loopback(&url));
        if allowed {
            return Ok(url);
        }
        // The path may be a download token: only the host is told.
        let host = url.host_str().unwrap_or("no host");
        Err(Error::new(
            endpoint,
            Kind::ForeignHost,
            format!("{}://{host} is not a host of 1Fichier", url.scheme()),
        ))
    }

    /// The base URL of an upload node, named by host and perhaps port.
    pub(crate) fn node(&self, endpoint: &'static str, host: &str) -> Result<Url, Error> {
        let wrong = || {
            Error::new(
                endpoint,
                Kind::Malformed,
                format!("{host:?} is no upload node"),
            )
        };
        if host.contains("://") {
            return self.check(endpoint, Url::parse(host).map_err(|_| wrong())?);
        }
        if host.is_empty() || host.contains(['/', '?', '#', '@']) {
            return Err(wrong());
        }
        let secure = Url::parse(&format!("https://{host}/")).map_err(|_| wrong())?;
        if self.loopback && is_loopback(&secure) {
            return Url::parse(&format!("http://{host}/")).map_err(|_| wrong());
        }
        self.check(endpoint, secure)
    }

    /// A URL that an answer named, perhaps relative to `base`.
    pub(crate) fn follow(
        &self,
        endpoint: &'static str,
        base: &Url,
        target: &str,
    ) -> Result<Url, Error> {
        let url = base.join(target).map_err(|_| {
            Error::new(
                endpoint,
                Kind::Malformed,
                "1Fichier redirected to something that is no URL",
            )
        })?;
        self.check(endpoint, url)
    }

    /// The public link of a file, word for word: the domain belongs to it
    /// ([API §C]).
    pub(crate) fn file_link(&self, endpoint: &'static str, link: &str) -> Result<String, Error> {
        let is_public =
            |url: &Url| url.scheme() == "https" && url.host_str().is_some_and(is_file_host);
        match Url::parse(link) {
            Ok(url) if is_public(&url) => Ok(link.to_owned()),
            _ => self.absolute(endpoint, link).map(|_| link.to_owned()),
        }
    }

    /// The public link of a folder ([API §16]).
    pub(crate) fn folder_link(&self, endpoint: &'static str, link: &str) -> Result<String, Error> {
        let url = self.absolute(endpoint, link)?;
        let id = url.path().strip_prefix("/dir/").unwrap_or_default();
        if id.is_empty() || id.contains('/') {
            return Err(Error::new(
                endpoint,
                Kind::Malformed,
                "1Fichier gave something that is no public link of a folder",
            ));
        }
        Ok(link.to_owned())
    }

    /// An absolute URL that an answer named.
    pub(crate) fn absolute(&self, endpoint: &'static str, target: &str) -> Result<Url, Error> {
        let url = Url::parse(target).map_err(|_| {
            Error::new(
                endpoint,
                Kind::Malformed,
                "1Fichier gave something that is no URL",
            )
        })?;
        self.check(endpoint, url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_service_allows_only_its_own_domain_over_tls() {
        let hosts = Hosts::new("https://api.1fichier.com/v1").unwrap();
        assert_eq!(
            hosts.api("folder/ls").as_str(),
            "https://api.1fichier.com/v1/folder/ls.cgi"
        );
        assert_eq!(
            hosts.node("x", "up2.1fichier.com").unwrap().as_str(),
            "https://up2.1fichier.com/"
        );
        assert_eq!(
            hosts.shared_folder("Ab1").as_str(),
            "https://1fichier.com/dir/Ab1?json=1"
        );
        for bad in [
            "evil.example",
            "1fichier.com.evil.example",
            "evil1fichier.com",
            "127.0.0.1:80",
            "a/b",
            "u@1fichier.com",
        ] {
            assert!(hosts.node("x", bad).is_err(), "{bad}");
        }
        assert!(hosts.absolute("x", "https://a-6.1fichier.com/p1").is_ok());
        assert!(hosts.absolute("x", "http://a-6.1fichier.com/p1").is_err());
        assert!(hosts.absolute("x", "http://127.0.0.1:9/p1").is_err());
    }

    #[test]
    fn public_links_lead_to_1fichier() {
        for api in ["https://api.1fichier.com/v1", "http://127.0.0.1:1/v1"] {
            let hosts = Hosts::new(api).unwrap();
            for good in [
                "https://1fichier.com/?k7q2m9x4c1v8b3n6z5ad",
                "https://megadl.fr/?k7q2m9x4c1v8b3n6z5ad",
            ] {
                assert_eq!(hosts.file_link("x", good).unwrap(), good);
            }
            let link = "https://1fichier.com/dir/aB3dE5gH";
            assert_eq!(hosts.folder_link("x", link).unwrap(), link);
            for bad in [
                "https://evil.example/dir/aB3dE5gH",
                "https://1fichier.com.evil.example/dir/a",
                "https://megadl.fr.evil.example/dir/a",
                "http://1fichier.com/dir/aB3dE5gH",
                "https://1fichier.com/console",
                "https://1fichier.com/dir/",
                "nonsense",
                "",
            ] {
                assert!(hosts.folder_link("x", bad).is_err(), "{bad}");
            }
            for bad in ["https://evil.example/?a", "http://megadl.fr/?a", "?a"] {
                assert!(hosts.file_link("x", bad).is_err(), "{bad}");
            }
        }
    }

    #[test]
    fn loopback_api_allows_loopback_nodes() {
        let hosts = Hosts::new("http://127.0.0.1:8080/v1/").unwrap();
        assert_eq!(
            hosts.shared_folder("Ab1").as_str(),
            "http://127.0.0.1:8080/dir/Ab1?json=1"
        );
        assert_eq!(
            hosts.node("x", "127.0.0.1:8081").unwrap().as_str(),
            "http://127.0.0.1:8081/"
        );
        assert_eq!(
            hosts.node("x", "http://localhost:8081").unwrap().as_str(),
            "http://localhost:8081/"
        );
        assert!(hosts.absolute("x", "http://192.0.2.1/p1").is_err());
        assert!(Hosts::new("http://192.0.2.1/v1").is_err());
        assert!(Hosts::new("ftp://1fichier.com").is_err());
        assert!(Hosts::new("nonsense").is_err());
    }
}
