//! Certificates: wrong, expired, missing, and replaced while the server runs.

use std::path::Path;

use pluton_fichier::emulator;
use pluton_fichier::tls::TlsFiles;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::*;

/// Who makes certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key.
type Pair = (String, String);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose, until: i32) -> Pair {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        (pem, key.serialize_pem())
    }

    fn server(&self) -> Pair {
        self.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth, 2100)
    }

    fn client(&self, until: i32) -> Identity {
        let (pem, key) = self.issue("client", ExtendedKeyUsagePurpose::ClientAuth, until);
        Identity::from_pem(pem, key)
    }
}

fn install(dir: &Path, (pem, key): &Pair) {
    std::fs::write(dir.join("cert.pem"), pem).unwrap();
    std::fs::write(dir.join("key.pem"), key).unwrap();
}

struct Secured {
    world: World,
    dir: tempfile::TempDir,
}

async fn secured(pair: &Pair, client_ca: Option<&Authority>) -> Secured {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    install(dir.path(), pair);
    let client_ca = client_ca.map(|authority| {
        std::fs::write(path("ca.pem"), &authority.pem).unwrap();
        path("ca.pem")
    });
    let files = TlsFiles {
        cert: path("cert.pem"),
        key: path("key.pem"),
        client_ca,
    };
    let options = emulator::Options::default();
    let world = build(options, |config| config.tls = Some(files)).await;
    Secured { world, dir }
}

impl Secured {
    fn endpoint(&self, host: &str) -> Endpoint {
        let address = &self.world.server.as_ref().unwrap().addresses()[0];
        let port = address.rsplit(':').next().unwrap();
        Endpoint::from_shared(format!("https://{host}:{port}")).unwrap()
    }

    async fn connect_to(
        &self,
        host: &str,
        ca: &Authority,
        identity: Option<Identity>,
    ) -> Result<Client, String> {
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&ca.pem));
        if let Some(identity) = identity {
            config = config.identity(identity);
        }
        let endpoint = self.endpoint(host).tls_config(config).unwrap();
        let said = |error: &dyn std::fmt::Debug| format!("{error:?}");
        let channel = endpoint.connect().await.map_err(|error| said(&error))?;
        let mut client = StorageBackendClient::new(channel);
        // In TLS 1.3 the server looks at the client's certificate after that.
        let answer = client.get_info(GetInfoRequest {}).await;
        answer.map_err(|error| said(&error))?;
        Ok(client)
    }

    async fn connect(&self, ca: &Authority) -> Result<Client, String> {
        self.connect_to("localhost", ca, None).await
    }
}

#[tokio::test(start_paused = true)]
async fn clients_refuse_a_wrong_or_expired_certificate() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let secured_well = secured(&authority.server(), None).await;
    let client = secured_well.connect(&authority).await.unwrap();
    send(&client, messages(header("f"), b"x")).await.unwrap();
    let error = secured_well.connect(&stranger).await.unwrap_err();
    assert!(error.contains("InvalidCertificate"), "{error}");
    let error = secured_well.connect_to("127.0.0.1", &authority, None).await;
    assert!(error.unwrap_err().contains("NotValidForName"));
    // Whoever does not encrypt gets nowhere.
    let address = &secured_well.world.server.as_ref().unwrap().addresses()[0];
    let plain = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let plain = plain.connect().await;
    if let Ok(channel) = plain {
        let mut client = StorageBackendClient::new(channel);
        client.get_info(GetInfoRequest {}).await.unwrap_err();
    }
    let old = authority.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth, 2002);
    let expired = secured(&old, None).await;
    let error = expired.connect(&authority).await.unwrap_err();
    assert!(error.contains("Expired"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn with_a_client_ca_only_its_clients_come_in() {
    let (authority, clients, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let secured = secured(&authority.server(), Some(&clients)).await;
    let connect = async |identity| secured.connect_to("localhost", &authority, identity).await;
    connect(None).await.unwrap_err();
    connect(Some(stranger.client(2100))).await.unwrap_err();
    connect(Some(clients.client(2002))).await.unwrap_err();
    // The server's own certificate is none of a client.
    let (pem, key) = clients.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth, 2100);
    connect(Some(Identity::from_pem(pem, key)))
        .await
        .unwrap_err();
    connect(Some(clients.client(2100))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn certificates_are_replaced_while_the_server_runs() {
    let (old, new) = (Authority::new(), Authority::new());
    let secured = secured(&old.server(), None).await;
    let mut client = secured.connect(&old).await.unwrap();
    // What is not usable changes nothing.
    let (pem, key) = new.server();
    let other_key = new.server().1;
    for broken in [
        ("nonsense".to_owned(), key.clone()),
        (pem.clone(), other_key),
        (pem.clone(), String::new()),
    ] {
        install(secured.dir.path(), &broken);
        a_while().await;
        secured.connect(&old).await.unwrap();
        secured.connect(&new).await.unwrap_err();
    }
    std::fs::remove_file(secured.dir.path().join("key.pem")).unwrap();
    a_while().await;
    secured.connect(&old).await.unwrap();
    install(secured.dir.path(), &(pem, key));
    a_while().await;
    secured.connect(&new).await.unwrap();
    secured.connect(&old).await.unwrap_err();
    // A connection stays as it was made.
    client.get_info(GetInfoRequest {}).await.unwrap();
    // SIGHUP does not wait.
    install(secured.dir.path(), &old.server());
    secured.world.server.as_ref().unwrap().reload();
    tokio::time::sleep(Duration::from_secs(1)).await;
    secured.connect(&old).await.unwrap();
}
