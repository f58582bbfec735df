//! What a listener needs for TLS: a certificate, its key, and who may connect.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// Chains of certificates are some kilobytes, bundles of authorities some
/// hundred.
const MAX_BYTES: u64 = 4 << 20;

/// Files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and its authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities of clients; every client needs a certificate of one.
    pub client_ca: Option<PathBuf>,
}

/// What stands in the files.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsContent {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// It holds the key.
impl fmt::Debug for TlsContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsContent(…)")
    }
}

fn read(what: &str, path: &Path) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut content))
        .map_err(|error| format!("cannot read the {what} {}: {error}", path.display()))?;
    match content.len() as u64 <= MAX_BYTES {
        true => Ok(content),
        false => Err(format!("the {what} {} is too large", path.display())),
    }
}

impl TlsFiles {
    /// Reads them.
    ///
    /// # Errors
    /// One line.
    pub fn read(&self) -> Result<TlsContent, String> {
        let client_ca = self.client_ca.as_deref();
        Ok(TlsContent {
            cert: read("certificate", &self.cert)?,
            key: read("private key", &self.key)?,
            client_ca: client_ca.map(|path| read("client CA", path)).transpose()?,
        })
    }

    /// What a listener works with; which protocols it speaks is its own
    /// business.
    ///
    /// # Errors
    /// One line: what is wrong with which file.
    pub fn server_config(&self, content: &TlsContent) -> Result<ServerConfig, String> {
        let chain = certificates("certificate", &self.cert, &content.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&content.key).map_err(|_| {
            format!(
                "there is no unencrypted private key in PEM in {}",
                self.key.display()
            )
        })?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?;
        let builder = match (&self.client_ca, &content.client_ca) {
            (Some(path), Some(pem)) => {
                let unusable = |error: &dyn fmt::Display| {
                    format!("the client CA in {} is not usable: {error}", path.display())
                };
                let mut roots = RootCertStore::empty();
                for authority in certificates("client CA", path, pem)? {
                    roots.add(authority).map_err(|error| unusable(&error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|error| unusable(&error))?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let config = builder.with_single_cert(chain, key).map_err(|error| {
            format!(
                "the certificate in {} and the private key in {} are not usable together: {error}",
                self.cert.display(),
                self.key.display()
            )
        })?;
        Ok(config)
    }
}

fn certificates(
    what: &str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!(
            "there is no certificate in PEM in the {what} file {}",
            path.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn each_file_is_named_when_it_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let write = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
        let files = TlsFiles {
            cert: path("cert"),
            key: path("key"),
            client_ca: Some(path("ca")),
        };
        let load = || files.server_config(&files.read()?);
        let ((cert, key), (ca, other)) = (pair(), pair());
        assert!(load().unwrap_err().contains("cert: No such file"));
        write("cert", &cert);
        assert!(load().unwrap_err().contains("key: No such file"));
        write("key", &key);
        assert!(load().unwrap_err().contains("ca: No such file"));
        write("ca", &ca);
        load().unwrap();
        for (name, text, word) in [
            ("cert", key.as_str(), "no certificate in PEM"),
            ("cert", "", "no certificate in PEM"),
            ("cert", &ca, "not usable together"),
            ("key", &cert, "no unencrypted private key"),
            ("key", &other, "not usable together"),
            ("ca", "nonsense", "client CA"),
        ] {
            let good = std::fs::read_to_string(path(name)).unwrap();
            write(name, text);
            let error = load().unwrap_err();
            assert!(error.contains(word), "{error}");
            assert!(error.contains(path(name).to_str().unwrap()), "{error}");
            assert_eq!(error.lines().count(), 1);
            write(name, &good);
        }
        load().unwrap();
    }
}
