//! `serve restic --stdio`: what restic starts in place of `rclone serve restic`.
//!
//! HTTP/2 on standard input and output, and behind it the HTTP address of the
//! server that runs: the request budget and what is remembered are there, and
//! one for all. Standard output carries frames and nothing else.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use clap::Args;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::unix::pipe::{Receiver, Sender};

use super::credentials::{may_go_unencrypted, read, token};
use super::exit::root_cause;

const CONNECT: Duration = Duration::from_secs(10);
/// restic gives a program up that has not answered after 60 s.
const FIRST_ANSWER: Duration = Duration::from_secs(45);
/// Shorter than the server keeps an idle connection: no request meets its end.
const IDLE: Duration = Duration::from_secs(60);
// As the server's own: unread uploads must not starve those that are read.
const STREAM_WINDOW: u32 = 1 << 20;
const MAX_STREAMS: u32 = 256;
/// Longest text of an error, in characters.
const MAX_TEXT: usize = 4 << 10;
/// What stands for itself in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Arguments of `serve restic`.
#[derive(Args, Clone, Debug)]
pub struct ResticArgs {
    /// --stdio, options, and at the end REMOTE:PATH. Options: --http ADDR (or PLUTON_FICHIER_HTTP),
    /// --token-file FILE (or PLUTON_FICHIER_TOKEN_FILE, PLUTON_FICHIER_TOKEN), --tls-ca FILE (or
    /// PLUTON_FICHIER_TLS_CA). Those of rclone serve restic are taken and not used
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENT"
    )]
    pub arguments: Vec<OsString>,
}

/// What the arguments say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    http: Option<String>,
    token_file: Option<PathBuf>,
    tls_ca: Option<PathBuf>,
    remote: String,
    path: String,
}

impl Wanted {
    fn parse(
        arguments: &[OsString],
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let texts: Option<Vec<&str>> = arguments.iter().map(|text| text.to_str()).collect();
        let texts = texts.ok_or("an argument is not UTF-8")?;
        let Some((repository, options)) = texts.split_last() else {
            return Err("the repository is missing: REMOTE:PATH".to_owned());
        };
        let mut wanted = Self {
            http: variable("PLUTON_FICHIER_HTTP"),
            token_file: variable("PLUTON_FICHIER_TOKEN_FILE").map(Into::into),
            tls_ca: variable("PLUTON_FICHIER_TLS_CA").map(Into::into),
            ..Self::default()
        };
        let mut stdio = false;
        let mut options = options.iter();
        while let Some(option) = options.next() {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (*option, None),
            };
            let mut value = || {
                let value = value.or_else(|| options.next().copied());
                value.ok_or_else(|| format!("{name} needs a value"))
            };
            match name {
                "--stdio" => stdio = true,
                "--http" => wanted.http = Some(value()?.to_owned()),
                "--token-file" => wanted.token_file = Some(value()?.into()),
                "--tls-ca" => wanted.tls_ca = Some(value()?.into()),
                // To leave it out would let more through than was asked for.
                "--append-only" => {
                    return Err(
                        "--append-only is a matter of the token here: make one with \
                                pluton-fichier token create --append-only NAME"
                            .to_owned(),
                    );
                }
                // rclone's, and their values.
                _ => {}
            }
        }
        if !stdio {
            return Err(
                "only --stdio is served; over a network, restic reaches the server itself: \
                        rest:http://HOST:PORT/restic/REMOTE/PATH/"
                    .to_owned(),
            );
        }
        let (remote, path) = repository.split_once(':').ok_or_else(|| {
            format!("{repository:?} is no repository; write REMOTE:PATH at the end")
        })?;
        if remote.is_empty() || remote.contains([',', '=', '/']) {
            return Err(format!(
                "{repository:?} names no remote of the server; write its name, as in fichier:PATH"
            ));
        }
        wanted.remote = remote.to_owned();
        wanted.path = path.trim_matches('/').to_owned();
        Ok(wanted)
    }

    /// Where the repository is below the server's address.
    fn location(&self) -> String {
        let mut location = "/restic/".to_owned();
        let path = self.path.split('/').filter(|segment| !segment.is_empty());
        for segment in std::iter::once(self.remote.as_str()).chain(path) {
            location.extend(utf8_percent_encode(segment, SEGMENT));
            location.push('/');
        }
        location
    }
}

/// One repository of a running server.
#[derive(Debug)]
pub struct Upstream {
    client: reqwest::Client,
    base: String,
    token: Option<String>,
    answered: AtomicBool,
    /// What was told last.
    told: Mutex<String>,
}

impl Upstream {
    /// The repository of these arguments; variables of the process are looked
    /// up where they say nothing.
    ///
    /// # Errors
    /// One line on what is wrong and what to do.
    pub fn new(
        arguments: &[OsString],
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let wanted = Wanted::parse(arguments, variable)?;
        let http = wanted.http.as_deref().ok_or(
            "where the server listens for HTTP is not known: set PLUTON_FICHIER_HTTP or --http to its --http-listen",
        )?;
        let token = token(wanted.token_file.as_deref()).map_err(|problem| problem.message)?;
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            // One connection for each request: none holds up another.
            .http1_only()
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE);
        let origin = match http.strip_prefix("unix:") {
            Some(socket) => {
                let socket = socket.strip_prefix("//").unwrap_or(socket);
                builder = builder.unix_socket(Path::new(socket));
                "http://localhost".to_owned()
            }
            None if http.contains("://") => http.trim_end_matches('/').to_owned(),
            None if wanted.tls_ca.is_some() => format!("https://{http}"),
            None => {
                if token.is_some() {
                    may_go_unencrypted(http)?;
                }
                format!("http://{http}")
            }
        };
        if let Some(file) = &wanted.tls_ca {
            let pem = read("CA", file).map_err(|problem| problem.message)?;
            let authorities = reqwest::Certificate::from_pem_bundle(pem.as_bytes());
            let unusable = |error| format!("{} is no PEM: {}", file.display(), root_cause(&error));
            builder = builder.tls_certs_only(authorities.map_err(unusable)?);
        }
        let client = builder.build();
        Ok(Self {
            client: client.map_err(|error| format!("cannot connect: {}", root_cause(&error)))?,
            base: origin + &wanted.location(),
            token,
            answered: AtomicBool::new(false),
            told: Mutex::default(),
        })
    }

    /// Whether the server is there and lets this caller in.
    ///
    /// # Errors
    /// One line on what is wrong and what to do.
    pub async fn check(&self) -> Result<(), String> {
        let asked = self.request(reqwest::Method::GET, "file-0").send();
        let answer = match tokio::time::timeout(FIRST_ANSWER, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                return Err(format!(
                    "cannot reach the server: {}; start it with: pluton-fichier serve --http-listen ADDR",
                    root_cause(&error)
                ));
            }
            Err(_) => return Err("the server does not answer".to_owned()),
        };
        match answer.status() {
            StatusCode::UNAUTHORIZED => Err(
                "the server wants a valid token: set PLUTON_FICHIER_TOKEN_FILE or --token-file"
                    .to_owned(),
            ),
            StatusCode::FORBIDDEN => {
                Err("the token does not reach this repository; use another token".to_owned())
            }
            // The remote is unknown, or its path is none; or the server wants to
            // be asked for by another name.
            StatusCode::BAD_REQUEST | StatusCode::MISDIRECTED_REQUEST => {
                let text = answer.text().await.unwrap_or_default();
                Err(text.trim_end().chars().take(MAX_TEXT).collect())
            }
            _ => Ok(()),
        }
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.base);
        let request = self.client.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Answers a request by the server's answer.
    async fn forward(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query();
        let path = path
            .map_or("", |path| path.as_str())
            .trim_start_matches('/');
        let mut asked = self.request(parts.method, path);
        for name in [ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, RANGE] {
            if let Some(value) = parts.headers.get(&name) {
                asked = asked.header(name, value);
            }
        }
        if !body.is_end_stream() {
            asked = asked.body(reqwest::Body::wrap(body));
        }
        let sent = asked.send();
        let answer = match self.answered.load(Ordering::Relaxed) {
            true => Ok(sent.await),
            false => tokio::time::timeout(FIRST_ANSWER, sent).await,
        };
        self.answered.store(true, Ordering::Relaxed);
        match answer {
            Ok(Ok(answer)) => self.pass(answer).await,
            Ok(Err(error)) => self.unavailable(&root_cause(&error)),
            Err(_) => self.unavailable("the server does not answer"),
        }
    }

    async fn pass(&self, answer: reqwest::Response) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        let status = answer.status();
        *response.status_mut() = status;
        for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_RANGE, RETRY_AFTER] {
            if let Some(value) = answer.headers().get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        // That something is not there is nothing to tell.
        let usual = [StatusCode::NOT_FOUND, StatusCode::RANGE_NOT_SATISFIABLE];
        if status.is_success() || usual.contains(&status) {
            *response.body_mut() = Body::from_stream(answer.bytes_stream());
            return response;
        }
        // restic shows no texts of answers, but it shows standard error.
        let text = answer.text().await.unwrap_or_default();
        let text: String = text.chars().take(MAX_TEXT).collect();
        self.tell(text.lines().next().unwrap_or_default());
        response.headers_mut().remove(CONTENT_LENGTH);
        *response.body_mut() = Body::from(text);
        response
    }

    fn unavailable(&self, why: &str) -> Response<Body> {
        self.tell(&format!("cannot reach the server: {why}"));
        let mut response = Response::new(Body::from(format!("{why}\n")));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    }

    /// Says something once, though it happens again and again.
    fn tell(&self, line: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !line.is_empty() && *told != line {
            eprintln!("{line}");
            line.clone_into(&mut told);
        }
    }
}

/// Serves one connection until its other end closes it.
///
/// # Errors
/// When what comes is no HTTP/2.
pub async fn proxy(
    connection: impl AsyncRead + AsyncWrite + Unpin,
    upstream: Arc<Upstream>,
) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| {
        let upstream = Arc::clone(&upstream);
        async move { Ok::<_, Infallible>(upstream.forward(request).await) }
    });
    http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * MAX_STREAMS)
        .max_concurrent_streams(MAX_STREAMS)
        .serve_connection(TokioIo::new(connection), service)
        .await
}

/// Standard input and output. No thread is stuck in them, so that the end of the
/// connection is that of the program.
fn pipes() -> std::io::Result<(Receiver, Sender)> {
    let input = std::io::stdin().as_fd().try_clone_to_owned()?;
    let output = std::io::stdout().as_fd().try_clone_to_owned()?;
    Ok((
        Receiver::from_owned_fd(input)?,
        Sender::from_owned_fd(output)?,
    ))
}

/// Whether nobody reads the answers any more.
fn is_gone(error: &hyper::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Runs until restic closes standard input.
pub async fn serve_restic(args: &ResticArgs) -> ExitCode {
    let fail = |problem: &str| {
        eprintln!("error: {problem}");
        ExitCode::FAILURE
    };
    let upstream = match Upstream::new(&args.arguments, |name| std::env::var(name).ok()) {
        Ok(upstream) => Arc::new(upstream),
        Err(problem) => return fail(&problem),
    };
    if let Err(problem) = upstream.check().await {
        return fail(&problem);
    }
    let stdio = match pipes() {
        Ok((input, output)) => tokio::io::join(input, output),
        Err(error) => {
            return fail(&format!(
                "standard input and output must be pipes, as restic makes them ({error}); this program is started by restic: restic -o rclone.program=… -r rclone:REMOTE:PATH"
            ));
        }
    };
    match proxy(stdio, upstream).await {
        Ok(()) => ExitCode::SUCCESS,
        // It closes both pipes at once.
        Err(error) if is_gone(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&format!(
            "restic's connection broke off: {}",
            root_cause(&error)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Wanted, String> {
        let arguments: Vec<_> = line.split(' ').map(OsString::from).collect();
        Wanted::parse(&arguments, |_| None)
    }

    #[test]
    fn rclone_s_arguments_are_taken() {
        for line in [
            "--stdio --b2-hard-delete f:a/b",
            "--stdio --cache-objects=false -v --config /x/rclone.conf f:/a/b/",
            "--http h:1 --stdio f:a/b",
            "--http=h:1 --addr localhost:8080 --stdio f:a/b",
        ] {
            let wanted = parse(line).unwrap();
            assert_eq!(wanted.location(), "/restic/f/a/b/", "{line}");
            assert_eq!(wanted.http.is_some(), line.contains("--http"));
        }
        assert_eq!(parse("--stdio f:").unwrap().location(), "/restic/f/");
        let odd = parse("--stdio f:50%/ü").unwrap();
        assert_eq!(odd.location(), "/restic/f/50%25/%C3%BC/");
    }

    #[test]
    fn what_cannot_be_served_is_told() {
        for (line, word) in [
            ("f:a", "--stdio"),
            ("--stdio a", "REMOTE:PATH"),
            ("--stdio :fichier:a", "names no remote"),
            ("--stdio f,cdn=true:a", "names no remote"),
            ("--stdio --append-only f:a", "token create"),
        ] {
            let problem = parse(line).unwrap_err();
            assert!(problem.contains(word), "{line}: {problem}");
        }
        let arguments = [OsString::from("--stdio"), OsString::from("f:a")];
        let problem = Upstream::new(&arguments, |_| None).unwrap_err();
        assert!(problem.contains("PLUTON_FICHIER_HTTP"), "{problem}");
    }

    #[test]
    fn a_token_goes_unencrypted_elsewhere_only_where_that_is_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "token").unwrap();
        let upstream = |http: &str, token: bool| {
            let mut line = format!("--stdio --http {http} f:a");
            if token {
                line = format!("--token-file {} {line}", file.path().display());
            }
            let arguments: Vec<_> = line.split(' ').map(OsString::from).collect();
            Upstream::new(&arguments, |_| None)
        };
        let problem = upstream("storage:8080", true).unwrap_err();
        assert!(problem.contains("https://storage:8080"), "{problem}");
        for http in [
            "127.0.0.1:8080",
            "http://storage:8080",
            "https://storage:8080",
            "unix:/s",
        ] {
            assert!(upstream(http, true).is_ok(), "{http}");
        }
        assert!(upstream("storage:8080", false).is_ok());
    }

    /// restic is not to begin where every request would be refused.
    #[tokio::test]
    async fn a_server_that_refuses_is_told() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        for (status, expected) in [
            ("200 OK", Ok(())),
            ("404 Not Found", Ok(())),
            ("400 Bad Request", Err("the cause")),
            ("421 Misdirected Request", Err("the cause")),
            ("401 Unauthorized", Err("wants a valid token")),
            ("403 Forbidden", Err("does not reach this repository")),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let line = format!("--stdio --http {address} f:a");
            let arguments: Vec<_> = line.split(' ').map(OsString::from).collect();
            let upstream = Upstream::new(&arguments, |_| None).unwrap();
            let answer = async {
                let (mut socket, _) = listener.accept().await.unwrap();
                let _ = socket.read(&mut [0; 4_096]).await.unwrap();
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 10\r\n\r\nthe cause\n");
                socket.write_all(answer.as_bytes()).await.unwrap();
                socket
            };
            let (checked, _socket) = tokio::join!(upstream.check(), answer);
            match (checked, expected) {
                (Ok(()), Ok(())) => {}
                (Err(problem), Err(word)) => assert!(problem.contains(word), "{problem}"),
                (checked, _) => panic!("{status}: {checked:?}"),
            }
        }
    }
}
