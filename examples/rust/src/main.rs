//! A client of pluton.storage.v1: tests the connection, stores a file, lists it, reads it with an
//! interruption, hashes and deletes it, and decodes an error.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

mod storage {
    tonic::include_proto!("pluton.storage.v1");
}
use storage::storage_backend_client::StorageBackendClient;
use storage::{get_response, put_request, *};

const CHUNK: usize = 256 << 10;
/// Whoever is told to wait longer can better come back by themselves.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const PATH: &str = "examples/rust/demo.bin";

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A client of pluton.storage.v1.
#[derive(Parser)]
struct Options {
    /// host:port or unix:/path
    #[arg(long, env = "PLUTON_FICHIER_SERVER", default_value = "127.0.0.1:50051")]
    address: String,
    /// Encrypt, and trust the authorities of this machine
    #[arg(long)]
    tls: bool,
    /// Encrypt, and trust the authorities in this PEM file
    #[arg(long, env = "PLUTON_FICHIER_CA")]
    ca: Option<PathBuf>,
    /// File with the access token; the token itself may stand in PLUTON_FICHIER_TOKEN
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// Seconds for each call
    #[arg(long, default_value_t = 120.0)]
    timeout: f64,
    /// Bytes of the file that is stored
    #[arg(long, default_value_t = 8 << 20)]
    size: usize,
}

/// The stub, with what every call carries.
struct Client {
    stub: StorageBackendClient<Channel>,
    token: Option<String>,
    timeout: Duration,
    service_config: serde_json::Value,
}

impl Client {
    async fn connect(options: &Options) -> Outcome<Self> {
        let encrypted = options.tls || options.ca.is_some();
        let uri = match options.address.strip_prefix("unix:") {
            Some(path) => format!("unix://{path}"),
            None if encrypted => format!("https://{}", options.address),
            None => format!("http://{}", options.address),
        };
        let mut endpoint = Endpoint::from_shared(uri)?;
        if encrypted {
            let tls = match &options.ca {
                Some(file) => ClientTlsConfig::new()
                    .ca_certificate(Certificate::from_pem(std::fs::read(file)?)),
                None => ClientTlsConfig::new().with_native_roots(),
            };
            endpoint = endpoint.tls_config(tls)?;
        }
        // Not as an argument: everybody on the machine can read those.
        let token = match &options.token_file {
            Some(file) => Some(std::fs::read_to_string(file)?.trim().to_owned()),
            None => std::env::var("PLUTON_FICHIER_TOKEN").ok(),
        };
        Ok(Self {
            stub: StorageBackendClient::new(endpoint.connect().await?),
            token: token.filter(|token| !token.is_empty()),
            timeout: Duration::from_secs_f64(options.timeout),
            service_config: serde_json::from_str(include_str!(
                "../../../proto/pluton/storage/v1/storage_grpc_service_config.json"
            ))?,
        })
    }

    fn request<T>(&self, message: T) -> Result<Request<T>, Status> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        if let Some(token) = &self.token {
            let value = format!("Bearer {token}").parse();
            let value = value.map_err(|_| Status::unauthenticated("the token is not a token"))?;
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }

    /// How often the service config allows to try a method; once if it does not name it, as Put.
    fn attempts(&self, method: &str) -> u64 {
        let configs = self.service_config["methodConfig"].as_array();
        let names = |config: &serde_json::Value| {
            let mut names = config["name"].as_array().into_iter().flatten();
            names.any(|name| name["method"] == method)
        };
        let config = configs.into_iter().flatten().find(|config| names(config));
        config.map_or(1, |config| {
            config["retryPolicy"]["maxAttempts"].as_u64().unwrap_or(1)
        })
    }

    /// Calls a method, again if the server says that this can help, after the time that it says.
    /// Other languages' gRPC libraries do this by themselves; tonic leaves it to the program.
    async fn call<Q: Clone, A>(
        &self,
        method: &str,
        message: Q,
        send: impl AsyncFn(StorageBackendClient<Channel>, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Status> {
        let mut left = self.attempts(method);
        loop {
            let answer = send(self.stub.clone(), self.request(message.clone())?).await;
            let error = match answer {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(error) => error,
            };
            left -= 1;
            let retry = error.get_details_retry_info();
            match retry.and_then(|retry| retry.retry_delay) {
                Some(delay)
                    if error.code() == Code::Unavailable && left > 0 && delay <= LONGEST_WAIT =>
                {
                    tokio::time::sleep(delay).await;
                }
                _ => return Err(error),
            }
        }
    }

    async fn test_connection(&self) -> Outcome<()> {
        let info = self.call("GetInfo", GetInfoRequest {}, async |mut stub, request| {
            stub.get_info(request).await
        });
        let info = info.await?;
        let remote = info.remotes.first().ok_or("the server has no remote")?;
        let (name, version) = (&info.server_name, &info.server_version);
        println!("server: {name} {version}, remote {}", remote.name);
        let about = self.call(
            "About",
            AboutRequest::default(),
            async |mut stub, request| stub.about(request).await,
        );
        println!("space: {} bytes free", about.await?.free_bytes());
        let request = TestConnectionRequest::default();
        let answer = self.call("TestConnection", request, async |mut stub, request| {
            stub.test_connection(request).await
        });
        let answer = answer.await?;
        for check in &answer.checks {
            let state = check.state().as_str_name().replace("CHECK_STATE_", "");
            let why = check.failure.as_ref().map(|failure| &failure.message);
            let why = why.map_or(String::new(), |why| format!(": {why}"));
            println!("check {}: {}{why}", check.name, state.to_lowercase());
        }
        if !answer.healthy {
            return Err("the remote does not work".into());
        }
        Ok(())
    }

    /// Nothing is stored before the commit; the answer comes when the file is verified.
    async fn put(&self, path: &str, content: &[u8]) -> Outcome<Entry> {
        // Holds a few messages: whoever produces faster than the server reads waits.
        let (sender, messages) = mpsc::channel(2);
        let size = content.len();
        let header = PutHeader {
            path: path.to_owned(),
            size: Some(size as i64),
            ..Default::default()
        };
        let commit = PutCommit {
            size: size as i64,
            checksums: vec![Checksum {
                algorithm: HashAlgorithm::Sha256.into(),
                hex: sha256(content),
            }],
        };
        let produce = async move {
            let send = async |payload| {
                let message = PutRequest {
                    payload: Some(payload),
                };
                sender.send(message).await.is_ok()
            };
            let mut going = send(put_request::Payload::Header(header)).await;
            let (mut offset, mut shown) = (0, 0);
            for data in content.chunks(CHUNK) {
                let chunk = Chunk {
                    offset: offset as i64,
                    data: data.to_vec(),
                    crc32c: None,
                };
                // The server may end the call before it has everything; its answer says why.
                going = going && send(put_request::Payload::Chunk(chunk)).await;
                offset += data.len();
                let quarter = offset * 4 / size;
                if going && quarter > shown {
                    shown = quarter;
                    println!("put: {} %", offset * 100 / size);
                }
            }
            if going {
                send(put_request::Payload::Commit(commit)).await;
            }
        };
        let mut stub = self.stub.clone();
        let answer = stub.put(self.request(ReceiverStream::new(messages))?);
        let (answer, ()) = tokio::join!(answer, produce);
        let entry = answer?
            .into_inner()
            .entry
            .ok_or("an answer without entry")?;
        println!("put: stored {}, {} bytes", entry.path, entry.size());
        Ok(entry)
    }

    async fn list(&self, path: &str) -> Outcome<()> {
        let request = ListRequest {
            path: path.to_owned(),
            ..Default::default()
        };
        let mut pages = self
            .call("List", request, async |mut stub, request| {
                stub.list(request).await
            })
            .await?;
        while let Some(page) = pages.message().await? {
            for PathFailure { path, failure } in page.failures {
                eprintln!("list: {path}: {}", failure.unwrap_or_default().message);
            }
            for entry in page.entries {
                println!("list: {} {}", entry.path, entry.size());
            }
        }
        Ok(())
    }

    /// The content from `offset` on, and whether it is complete: only with its trailer is it.
    /// It leaves after `stop_after` bytes, as if the network had failed.
    async fn get(&self, offset: usize, etag: &str, stop_after: usize) -> Outcome<(Vec<u8>, bool)> {
        let range = ByteRange {
            offset: offset as i64,
            length: None,
        };
        let request = GetRequest {
            path: PATH.to_owned(),
            ranges: Vec::from_iter((offset > 0).then_some(range)),
            // What is read later must be the same file.
            if_match_etag: etag.to_owned(),
            ..Default::default()
        };
        // Dropped, the stream ends the call.
        let mut stream = self
            .call("Get", request, async |mut stub, request| {
                stub.get(request).await
            })
            .await?;
        let (mut content, mut complete) = (Vec::new(), false);
        while content.len() < stop_after
            && let Some(message) = stream.message().await?
        {
            match message.payload {
                Some(get_response::Payload::Chunk(chunk)) => content.extend(chunk.data),
                Some(get_response::Payload::Trailer(_)) => complete = true,
                _ => {}
            }
        }
        Ok((content, complete))
    }

    async fn hash(&self, path: &str) -> Outcome<String> {
        let request = HashRequest {
            path: path.to_owned(),
            algorithm: HashAlgorithm::Sha256.into(),
            ..Default::default()
        };
        let answer = self
            .call("Hash", request, async |mut stub, request| {
                stub.hash(request).await
            })
            .await?;
        Ok(answer.checksum.unwrap_or_default().hex)
    }

    /// A batch has one result for each file, and each may have failed.
    async fn delete(&self, path: &str) -> Outcome<()> {
        let target = DeleteTarget {
            path: path.to_owned(),
            ..Default::default()
        };
        let request = DeleteRequest {
            targets: vec![target],
            ..Default::default()
        };
        let answer = self
            .call("Delete", request, async |mut stub, request| {
                stub.delete(request).await
            })
            .await?;
        for DeleteResult { path, failure } in answer.results {
            if let Some(Failure {
                reason, message, ..
            }) = failure
            {
                return Err(format!("{reason}: {message}").into());
            }
            println!("deleted: {path}");
        }
        Ok(())
    }

    async fn stat(&self, path: &str) -> Result<StatResponse, Status> {
        let request = StatRequest {
            path: path.to_owned(),
            ..Default::default()
        };
        self.call("Stat", request, async |mut stub, request| {
            stub.stat(request).await
        })
        .await
    }
}

fn sha256(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text, the reason and the delay of an error: its details are messages of google.rpc.
fn explain(error: &Status) -> String {
    let details = error.get_error_details();
    // As the protocol writes it: NOT_FOUND for NotFound.
    let code = format!("{:?}", error.code());
    let mut name = String::new();
    for letter in code.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_uppercase());
    }
    let reason = details.error_info().map(|info| format!(" {}", info.reason));
    let retry = details.retry_info().and_then(|retry| retry.retry_delay);
    let retry = retry.map(|delay| format!(" (retry in {:.1} s)", delay.as_secs_f64()));
    let (reason, retry) = (reason.unwrap_or_default(), retry.unwrap_or_default());
    format!("{name}{reason}: {}{retry}", error.message())
}

async fn run() -> Outcome<()> {
    let options = Options::parse();
    let client = Client::connect(&options).await?;
    let content: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(options.size)
        .collect();
    client.test_connection().await?;
    let entry = client.put(PATH, &content).await?;
    client.list("examples/rust").await?;

    let (mut read, complete) = client.get(0, "", content.len() / 2).await?;
    let offset = read.len();
    println!("get: interrupted after {offset} bytes, complete: {complete}");
    let (rest, complete) = client.get(offset, &entry.etag, usize::MAX).await?;
    read.extend(rest);
    let same = read == content;
    println!("get: resumed at {offset}, complete: {complete}, same: {same}");

    let checksum = client.hash(PATH).await?;
    println!("hash: sha256 {checksum}");
    client.delete(PATH).await?;
    match client.stat(PATH).await {
        Ok(_) => return Err("the file is still there".into()),
        Err(error) => println!("as expected: {}", explain(&error)),
    }
    if !same || !complete || checksum != sha256(&content) {
        return Err("what was read is not what was stored".into());
    }
    println!("done");
    Ok(())
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let Err(error) = run().await else {
        return std::process::ExitCode::SUCCESS;
    };
    match error.downcast_ref::<Status>() {
        Some(status) => eprintln!("error: {}", explain(status)),
        None => eprintln!("error: {error}"),
    }
    std::process::ExitCode::FAILURE
}
