//! Requests of the HTTP faces: what is counted of them, and their ids.

use pluton_fichier::config::Listen;
use pluton_fichier::emulator;
use reqwest::{Client, Method, RequestBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

async fn served() -> World {
    build(emulator::Options::default(), |config| {
        config.http_listen = vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())];
    })
    .await
}

fn address(world: &World) -> String {
    world.server.as_ref().unwrap().http_addresses()[0].clone()
}

fn request(world: &World, method: &str, path: &str) -> RequestBuilder {
    let url = format!("http://{}{path}", address(world));
    let client = Client::builder().no_proxy().build().unwrap();
    client.request(Method::from_bytes(method.as_bytes()).unwrap(), url)
}

impl Metrics {
    fn requests(&self, face: &str, method: &str, status: &str) -> f64 {
        self.get(&format!(
            "http_requests_total{{face=\"{face}\",method=\"{method}\",status=\"{status}\"}}"
        ))
    }

    fn http_bytes(&self, face: &str) -> [f64; 2] {
        ["in", "out"].map(|direction| {
            self.get(&format!(
                "http_bytes_total{{face=\"{face}\",direction=\"{direction}\"}}"
            ))
        })
    }

    fn in_flight(&self, face: &str) -> f64 {
        self.get(&format!("http_requests_in_flight{{face=\"{face}\"}}"))
    }
}

#[tokio::test(start_paused = true)]
async fn known_requests_give_known_figures() {
    let world = served().await;
    let listing = {
        let put = request(&world, "PUT", "/dav/fichier/f").body(content(1_000));
        assert_eq!(answer(put).await.code, 201);
        for _ in 0..2 {
            assert_eq!(
                answer(request(&world, "GET", "/dav/fichier/f")).await.code,
                200
            );
        }
        assert_eq!(
            answer(request(&world, "HEAD", "/dav/fichier/f")).await.code,
            200
        );
        let part = request(&world, "GET", "/dav/fichier/f").header("range", "bytes=0-99");
        assert_eq!(answer(part).await.code, 206);
        let missing = answer(request(&world, "GET", "/dav/fichier/none")).await;
        assert_eq!(missing.code, 404);
        assert_eq!(
            answer(request(&world, "BREW", "/dav/fichier/")).await.code,
            405
        );
        answer(request(&world, "PROPFIND", "/dav/fichier/").header("depth", "1")).await
    };
    assert_eq!(listing.code, 207);
    for path in ["/", "/davy/fichier/f", "/metrics"] {
        assert_eq!(answer(request(&world, "GET", path)).await.code, 404);
    }
    let config = "/restic/fichier/repository/config";
    let stored = answer(request(&world, "POST", config).body("config")).await;
    assert_eq!(stored.code, 200, "{}", stored.text);
    let read = answer(request(&world, "GET", config)).await;
    assert_eq!((read.code, &*read.text), (200, "config"));

    let metrics = world.metrics().await;
    for (face, method, status, count) in [
        ("webdav", "PUT", "2xx", 1.0),
        ("webdav", "GET", "2xx", 3.0),
        ("webdav", "GET", "4xx", 1.0),
        ("webdav", "HEAD", "2xx", 1.0),
        ("webdav", "PROPFIND", "2xx", 1.0),
        ("webdav", "other", "4xx", 1.0),
        ("restic", "POST", "2xx", 1.0),
        ("restic", "GET", "2xx", 1.0),
        ("other", "GET", "4xx", 3.0),
    ] {
        let told = metrics.requests(face, method, status);
        assert_eq!(told, count, "{face} {method} {status}");
    }
    assert_eq!(metrics.sum("http_requests_total"), 13.0);
    let count = "http_request_duration_seconds_count{face=\"webdav\",method=\"GET\"}";
    assert_eq!(metrics.get(count), 4.0);
    let [received, sent] = metrics.http_bytes("webdav");
    assert_eq!(received, 1_000.0);
    let files = 2_100 + listing.text.len();
    // And two lines that tell what is wrong.
    assert!(
        (files as f64..files as f64 + 500.0).contains(&sent),
        "{sent}"
    );
    assert_eq!(metrics.http_bytes("restic"), [6.0, 6.0]);
    for face in ["webdav", "restic", "other"] {
        assert_eq!(metrics.in_flight(face), 0.0, "{face}");
    }
    // Nothing of it is a call over gRPC.
    assert_eq!(metrics.sum("rpcs_total"), 0.0);
    let status = world.json("/status.json").await;
    assert_eq!(status["http"]["by_status"]["2xx"], 8, "{status}");
    assert_eq!(status["http"]["in_work"], 0, "{status}");
}

#[tokio::test(start_paused = true)]
async fn requests_that_do_not_end_well_are_told_apart() {
    let world = served().await;
    let mut socket = TcpStream::connect(address(&world)).await.unwrap();
    let head = b"PUT /dav/fichier/f HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n";
    socket.write_all(head).await.unwrap();
    socket.write_all(&[0; 40]).await.unwrap();
    seconds(2).await;
    let metrics = world.metrics().await;
    assert_eq!(metrics.in_flight("webdav"), 1.0);
    assert_eq!(metrics.http_bytes("webdav"), [40.0, 0.0]);
    assert_eq!(metrics.sum("http_requests_total"), 0.0);
    drop(socket);
    seconds(2).await;
    let metrics = world.metrics().await;
    assert_eq!(metrics.in_flight("webdav"), 0.0);
    let [left, refused] = ["left", "4xx"].map(|status| {
        let series = format!("pluton_fichier_http_requests_total{{face=\"webdav\",method=\"PUT\",status=\"{status}\"}}");
        metrics.0.get(&series).copied().unwrap_or(0.0)
    });
    // The end of the body may be seen first.
    assert_eq!(left + refused, 1.0, "{metrics:?}");

    // Content that is not what was stored breaks off at its end.
    let url = world.put("g", &content(300_000)).await.unwrap().id;
    world.control.corrupt_file(&url);
    let response = request(&world, "GET", "/dav/fichier/g").send().await;
    let response = response.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.bytes().await.is_err());
    let metrics = world.metrics().await;
    assert_eq!(metrics.requests("webdav", "GET", "broken"), 1.0);

    // A download that nobody takes any more.
    let data = content(40_000_000);
    world.put("h", &data).await.unwrap();
    let mut socket = TcpStream::connect(address(&world)).await.unwrap();
    let head = b"GET /dav/fichier/h HTTP/1.1\r\nHost: localhost\r\n\r\n";
    socket.write_all(head).await.unwrap();
    socket.read_exact(&mut [0; 1_000]).await.unwrap();
    seconds(2).await;
    let metrics = world.metrics().await;
    assert_eq!(metrics.in_flight("webdav"), 1.0);
    drop(socket);
    seconds(5).await;
    let metrics = world.metrics().await;
    assert_eq!(metrics.in_flight("webdav"), 0.0);
    assert_eq!(metrics.requests("webdav", "GET", "left"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn every_answer_carries_the_id_of_its_request() {
    let world = build(emulator::Options::default(), |config| {
        config.http_listen = vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())];
        config.require_token = true;
    })
    .await;
    // Also where nobody is let in.
    for path in ["/", "/dav/fichier/", "/restic/fichier/x/config"] {
        let given = request(&world, "GET", path).header("x-request-id", "mine-1");
        let told = answer(given).await;
        assert_eq!(told.code, 401);
        assert_eq!(told.headers["x-request-id"], "mine-1");
        let long = "x".repeat(129);
        let mut made = Vec::new();
        for bad in ["", "a b", &long] {
            let told = answer(request(&world, "GET", path).header("x-request-id", bad)).await;
            let id = told.headers["x-request-id"].to_str().unwrap().to_owned();
            assert_eq!(id.len(), 32, "{id}");
            made.push(id);
        }
        made.dedup();
        assert_eq!(made.len(), 3, "{made:?}");
    }
    let metrics = world.metrics().await;
    assert_eq!(metrics.requests("webdav", "GET", "4xx"), 4.0);
}
