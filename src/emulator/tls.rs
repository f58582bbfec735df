//! A certificate authority for one run, so that the service's real names can be served.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// The names that the certificate covers.
const NAMES: [&str; 4] = [
    "api.1fichier.com",
    "1fichier.com",
    "*.1fichier.com",
    "localhost",
];

/// Makes an authority and a certificate. Returns the acceptor and the authority as PEM.
pub(super) fn create(address: IpAddr) -> io::Result<(TlsAcceptor, String)> {
    let (ca_pem, certificate, key) = certificates(address).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), ca_pem))
}

type Certificates = (
    String,
    rustls::pki_types::CertificateDer<'static>,
    PrivateKeyDer<'static>,
);

fn certificates(address: IpAddr) -> Result<Certificates, rcgen::Error> {
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name
        .push(DnType::CommonName, "pluton-fichier emulator CA");
    let ca_key = KeyPair::generate()?;
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);

    let names: Vec<String> = NAMES.into_iter().map(str::to_owned).collect();
    let mut leaf = CertificateParams::new(names)?;
    leaf.subject_alt_names.push(SanType::IpAddress(address));
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.distinguished_name
        .push(DnType::CommonName, "1fichier.com (emulated)");
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &issuer)?.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok((ca_pem, certificate, key))
}
