//! The admin listener: what it tells after known operations, and to whom.

mod http;

use std::collections::BTreeMap;
use std::time::Duration;

use pluton_fichier::emulator::FaultKind;
use pluton_fichier::proto::*;
use serde_json::Value;

use crate::checks::*;
use crate::harness::*;

struct Answer {
    code: u16,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl World {
    fn admin(&self) -> String {
        let server = self.server.as_ref().unwrap();
        format!("http://{}", server.admin_address().unwrap())
    }

    async fn ask(&self, path: &str) -> Answer {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}{path}", self.admin());
        answer(client.get(url)).await
    }

    async fn json(&self, path: &str) -> Value {
        let answer = self.ask(path).await;
        assert_eq!(answer.headers["content-type"], "application/json");
        serde_json::from_str(&answer.text).unwrap()
    }

    async fn metrics(&self) -> Metrics {
        let answer = self.ask("/metrics").await;
        assert_eq!(answer.code, 200);
        parse(&answer.text)
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    Answer {
        code: response.status().as_u16(),
        headers: response.headers().clone(),
        text: response.text().await.unwrap(),
    }
}

/// By name and labels as they stand in the text.
#[derive(Debug)]
struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    #[track_caller]
    fn get(&self, series: &str) -> f64 {
        let found = self.0.get(&format!("pluton_fichier_{series}"));
        *found.unwrap_or_else(|| panic!("no {series} in {:#?}", self.0))
    }

    /// The sum of all series of a name.
    fn sum(&self, name: &str) -> f64 {
        let begin = format!("pluton_fichier_{name}{{");
        let of_name = self
            .0
            .iter()
            .filter(|(series, _)| series.starts_with(&begin));
        of_name.map(|(_, figure)| figure).sum()
    }
}

/// Reads the OpenMetrics text format, and fails for every line that is none.
fn parse(text: &str) -> Metrics {
    let body = text.strip_suffix("# EOF\n").expect("an end");
    let (mut kinds, mut helps) = (BTreeMap::new(), BTreeMap::new());
    let mut series = BTreeMap::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect(line);
            assert!(!help.is_empty(), "{line}");
            assert!(helps.insert(name, help).is_none(), "twice: {line}");
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(kinds.insert(name, kind).is_none(), "twice: {line}");
            continue;
        }
        assert!(!line.starts_with('#'), "{line}");
        let (name_and_labels, figure) = line.rsplit_once(' ').expect(line);
        let figure: f64 = figure.parse().expect(line);
        assert!(figure.is_finite() && figure >= 0.0, "{line}");
        let (name, labels) = match name_and_labels.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect(line)),
            None => (name_and_labels, ""),
        };
        assert!(name.starts_with("pluton_fichier_"), "{line}");
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(name.chars().all(valid), "{line}");
        let (family, kind) = ["", "_total", "_sum", "_count", "_bucket"]
            .iter()
            .find_map(|end| {
                let family = name.strip_suffix(end)?;
                Some((family, *kinds.get(family)?))
            })
            .unwrap_or_else(|| panic!("no TYPE before {line}"));
        assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        assert!(helps.contains_key(family), "no HELP before {line}");
        for label in labels.split("\",").filter(|label| !label.is_empty()) {
            let (key, value) = label.split_once("=\"").expect(line);
            assert!(key.chars().all(valid), "{line}");
            let known = [
                "version",
                "service",
                "method",
                "code",
                "remote",
                "endpoint",
                "outcome",
                "scope",
                "priority",
                "direction",
                "state",
                "face",
                "status",
                "le",
            ];
            assert!(known.contains(&key), "{line}");
            let value = value.trim_end_matches('"');
            assert!(key == "endpoint" || !value.contains('/'), "no path: {line}");
        }
        let twice = series.insert(name_and_labels.to_owned(), figure);
        assert!(twice.is_none(), "twice: {line}");
    }
    Metrics(series)
}

const STORAGE: &str = "service=\"pluton.storage.v1.StorageBackend\"";

#[tokio::test(start_paused = true)]
async fn known_operations_give_known_figures() {
    let world = world().await;
    world.put("d/f", &content(1_000)).await.unwrap();
    world.put("d/g", &content(500)).await.unwrap();
    world.get("d/f").await.unwrap();
    world.get("d/f").await.unwrap();
    assert_reason(world.stat("d/none").await, "FILE_NOT_FOUND");
    world.names("", true).await;
    let about = world.client.clone().about(AboutRequest::default()).await;
    let about = about.unwrap().into_inner();
    let metrics = world.metrics().await;
    for (method, code, count) in [
        ("Put", "OK", 2.0),
        ("Get", "OK", 2.0),
        ("Stat", "NOT_FOUND", 1.0),
        ("List", "OK", 1.0),
        ("About", "OK", 1.0),
    ] {
        let series = format!("rpcs_total{{{STORAGE},method=\"{method}\",code=\"{code}\"}}");
        assert_eq!(metrics.get(&series), count, "{method}");
        let series = format!("rpc_duration_seconds_count{{{STORAGE},method=\"{method}\"}}");
        assert_eq!(metrics.get(&series), count, "{method}");
    }
    assert_eq!(metrics.sum("rpcs_total"), 7.0);
    assert_eq!(metrics.get("rpcs_in_flight"), 0.0);

    // What 1Fichier has counted is what was counted here.
    let calls = world.control.calls();
    for endpoint in [
        "folder/ls",
        "folder/mkdir",
        "upload/get_upload_server",
        "upload.cgi",
        "end.pl",
        "download/get_token",
        "user/info",
    ] {
        let series = format!(
            "upstream_requests_total{{remote=\"fichier\",endpoint=\"{endpoint}\",outcome=\"ok\"}}"
        );
        assert_eq!(
            metrics.get(&series),
            calls.get(endpoint) as f64,
            "{endpoint}"
        );
        assert!(calls.get(endpoint) > 0, "{endpoint}");
    }
    let api = "{remote=\"fichier\",scope=\"api\"}";
    assert_eq!(
        metrics.get(&format!("budget_calls_total{api}")),
        calls.total_v1() as f64
    );
    assert_eq!(metrics.get(&format!("budget_floods_total{api}")), 0.0);
    assert_eq!(metrics.get(&format!("budget_rate_per_second{api}")), 3.0);
    assert_eq!(metrics.get(&format!("budget_locked_seconds{api}")), 0.0);
    let download =
        "upstream_requests_total{remote=\"fichier\",endpoint=\"download\",outcome=\"ok\"}";
    assert_eq!(metrics.get(download), 2.0);

    for (direction, count, bytes) in [("upload", 2.0, 1_500.0), ("download", 2.0, 2_000.0)] {
        let labels = format!("{{remote=\"fichier\",direction=\"{direction}\"}}");
        assert_eq!(metrics.get(&format!("transfers_total{labels}")), count);
        assert_eq!(metrics.get(&format!("transfer_bytes_total{labels}")), bytes);
        assert_eq!(metrics.get(&format!("transfers_in_flight{labels}")), 0.0);
        assert_eq!(
            metrics.get(&format!("verification_failures_total{labels}")),
            0.0
        );
    }
    let activity = world
        .client
        .clone()
        .get_activity(GetActivityRequest::default())
        .await;
    let catalog = activity.unwrap().into_inner().catalog.unwrap();
    for (name, figure) in [
        ("cache_hits_total", catalog.hits),
        ("cache_misses_total", catalog.misses),
        ("cache_directories", catalog.directories),
        ("cache_entries", catalog.entries),
        ("unfinished_writes", 0),
        ("catalog_problem", 0),
    ] {
        assert_eq!(
            metrics.get(&format!("{name}{{remote=\"fichier\"}}")),
            figure as f64,
            "{name}"
        );
    }
    assert!(catalog.hits > 0 && catalog.misses > 0);
    assert_eq!(metrics.get("spool_used_bytes"), 0.0);
    assert_eq!(metrics.get("spool_limit_bytes"), (1_u64 << 30) as f64);
    let quota = |state| {
        metrics.get(&format!(
            "quota_bytes{{remote=\"fichier\",state=\"{state}\"}}"
        ))
    };
    assert_eq!(quota("total"), about.total_bytes.unwrap() as f64);
    assert_eq!(quota("used"), about.used_bytes.unwrap() as f64);
    assert_eq!(quota("free"), about.free_bytes.unwrap() as f64);
    assert_eq!(metrics.get("serving"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_is_counted() {
    let world = world().await;
    let url = world.put("f", &content(1_000)).await.unwrap().id;
    // Stored wrong, and sent again; then read wrong.
    world.fail("upload.cgi", 1, FaultKind::Corrupt);
    world.put("g", &content(800)).await.unwrap();
    world.control.corrupt_file(&url);
    assert_reason(world.get("f").await, "STORED_CONTENT_CORRUPT");
    let metrics = world.metrics().await;
    let wrong = |direction| {
        let labels = format!("{{remote=\"fichier\",direction=\"{direction}\"}}");
        metrics.get(&format!("verification_failures_total{labels}"))
    };
    assert_eq!((wrong("upload"), wrong("download")), (1.0, 1.0));
    let lost = format!("rpcs_total{{{STORAGE},method=\"Get\",code=\"DATA_LOSS\"}}");
    assert_eq!(metrics.get(&lost), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_lock_and_what_waits_for_it_show_everywhere() {
    let world = world().await;
    world.put("f", b"content").await.unwrap();
    seconds(40).await;
    world.fail("folder/ls", 1, FaultKind::Flood);
    let mut client = world.client.clone();
    let asking = tokio::spawn(async move {
        let request = StatRequest {
            path: "f".to_owned(),
            max_staleness: Some(prost_types::Duration::default()),
            ..StatRequest::default()
        };
        client.stat(request).await
    });
    seconds(15).await;
    let metrics = world.metrics().await;
    let api = "{remote=\"fichier\",scope=\"api\"}";
    assert_eq!(metrics.get(&format!("budget_floods_total{api}")), 1.0);
    let locked = metrics.get(&format!("budget_locked_seconds{api}"));
    assert!((1.0..=30.0).contains(&locked), "{locked}");
    let waiting = "budget_waiting{remote=\"fichier\",scope=\"api\",priority=\"read\"}";
    assert_eq!(metrics.get(waiting), 1.0);
    assert_eq!(metrics.get("rpcs_in_flight"), 1.0);
    let flood =
        "upstream_requests_total{remote=\"fichier\",endpoint=\"folder/ls\",outcome=\"flood\"}";
    assert_eq!(metrics.get(flood), 1.0);

    let health = world.json("/healthz").await;
    assert_eq!(health["serving"], true);
    assert_eq!(health["problems"][0]["what"], "locked", "{health}");
    let status = world.json("/status.json").await;
    let budget = &status["budgets"][0];
    assert_eq!(budget["waiting"]["read"], 1, "{status}");
    assert!(budget["locked_seconds"].as_u64().unwrap() > 0, "{status}");
    asking.await.unwrap().unwrap();
    seconds(10).await;
    let status = world.json("/status.json").await;
    let budget = &status["budgets"][0];
    assert_eq!(budget["locked_seconds"], Value::Null, "{status}");
    let plot = &budget["history"];
    let figures = |name: &str| -> Vec<u64> {
        let figures = plot[name].as_array().unwrap().iter();
        figures.map(|figure| figure.as_u64().unwrap()).collect()
    };
    let calls = world.control.calls().total_v1() as u64;
    assert!(figures("calls").iter().sum::<u64>() <= calls, "{status}");
    assert!(
        figures("calls").iter().sum::<u64>() + 1 >= calls,
        "{status}"
    );
    assert!(figures("waiting").contains(&1), "{status}");
    let locked = figures("locked").iter().sum::<u64>();
    assert!((2..=4).contains(&locked), "{status}");
}

#[tokio::test(start_paused = true)]
async fn the_plot_is_of_the_last_hour() {
    let world = world().await;
    world.put("f", b"content").await.unwrap();
    world.idle(Duration::from_secs(2 * 3600)).await;
    let status = world.json("/status.json").await;
    let plot = &status["budgets"][0]["history"];
    assert_eq!(plot["calls"].as_array().unwrap().len(), 360);
    assert_eq!(plot["every_seconds"], 10);
    // The calls of the beginning are out of sight.
    let calls = plot["calls"].as_array().unwrap();
    assert!(calls.iter().all(|calls| *calls == 0), "{plot}");
}

#[tokio::test(start_paused = true)]
async fn transfers_in_work_show() {
    let world = unlimited().await;
    let mut client = world.client.clone();
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let messages = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let put = tokio::spawn(async move { client.put(messages).await });
    let first = PutHeader {
        size: Some(100),
        ..header("d/in work")
    };
    sender
        .send(message(put_request::Payload::Header(first)))
        .await
        .unwrap();
    sender.send(chunk(0, &content(40))).await.unwrap();
    seconds(2).await;
    let status = world.json("/status.json").await;
    assert_eq!(status["transfers_total"], 1, "{status}");
    let transfer = &status["transfers"][0];
    assert_eq!(transfer["path"], "d/in work");
    assert_eq!(transfer["direction"], "upload");
    assert_eq!(
        (&transfer["size"], &transfer["done"]),
        (&100.into(), &40.into())
    );
    assert_eq!(status["spool"]["used_bytes"], 100, "{status}");
    let metrics = world.metrics().await;
    let labels = "{remote=\"fichier\",direction=\"upload\"}";
    assert_eq!(metrics.get(&format!("transfers_in_flight{labels}")), 1.0);
    // The caller leaves: the call ends, and is counted.
    put.abort();
    drop(sender);
    seconds(2).await;
    let metrics = world.metrics().await;
    assert_eq!(metrics.get(&format!("transfers_in_flight{labels}")), 0.0);
    assert_eq!(metrics.get("rpcs_in_flight"), 0.0);
    let count = format!("rpc_duration_seconds_count{{{STORAGE},method=\"Put\"}}");
    assert_eq!(metrics.get(&count), 1.0);
    let ended = format!("{metrics:?}");
    assert!(!ended.contains("code=\\\"OK"), "{ended}");
}

#[tokio::test(start_paused = true)]
async fn watching_costs_one_call_in_ten_minutes_and_scraping_none() {
    let world = world().await;
    for _ in 0..20 {
        world.metrics().await;
        world.json("/healthz").await;
        seconds(15).await;
    }
    assert_eq!(world.control.calls().total_v1(), 0);
    let first = world.json("/status.json").await;
    assert_eq!(first["accounts"][0]["used_bytes"], Value::Null);
    for _ in 0..9 {
        seconds(60).await;
        world.json("/status.json").await;
    }
    let calls = world.control.calls();
    assert_eq!(
        (calls.get("user/info"), calls.total_v1()),
        (1, 1),
        "{calls}"
    );
    let account = &world.json("/status.json").await["accounts"][0];
    assert_eq!(account["used_bytes"], 0, "{account}");
    assert!(account["total_bytes"].as_i64().unwrap() > 0, "{account}");
    minutes(11).await;
    world.json("/status.json").await;
    seconds(5).await;
    assert_eq!(world.control.calls().get("user/info"), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_but_reading_is_possible_and_only_for_this_machine() {
    let world = unlimited().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let base = world.admin();
    let page = world.ask("/").await;
    assert_eq!(
        (page.code, &page.headers["content-type"]),
        (200, &"text/html; charset=utf-8".parse().unwrap())
    );
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    for part in [
        "script-src 'sha256-",
        "connect-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(world.ask("/none").await.code, 404);
    assert_eq!(world.ask("/../etc/passwd").await.code, 404);
    let post = answer(client.post(format!("{base}/metrics")).body("x")).await;
    assert_eq!(
        (post.code, &post.headers["allow"]),
        (405, &"GET, HEAD".parse().unwrap())
    );
    let head = answer(client.head(format!("{base}/"))).await;
    let length: usize = head.headers["content-length"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!((head.code, &*head.text, length), (200, "", page.text.len()));
    for (host, code) in [
        ("localhost:1", 200),
        ("127.0.0.1", 200),
        ("[::1]:9", 200),
        ("evil.example", 421),
        ("localhost.evil.example:80", 421),
    ] {
        let asked = client
            .get(format!("{base}/status.json"))
            .header("host", host);
        let answer = answer(asked).await;
        assert_eq!(answer.code, code, "{host}");
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
}

#[tokio::test(start_paused = true)]
async fn health_is_told_until_the_end() {
    let mut world = unlimited().await;
    let mut client = world.client.clone();
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let messages = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let put = tokio::spawn(async move { client.put(messages).await });
    let first = message(put_request::Payload::Header(header("f")));
    sender.send(first).await.unwrap();
    seconds(1).await;
    assert_eq!(
        world.ask("/healthz").await.text,
        r#"{"serving":true,"problems":[]}"#
    );
    let base = world.admin();
    let server = world.server.take().unwrap();
    let stopping = tokio::spawn(server.stop());
    seconds(1).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let health = answer(client.get(format!("{base}/healthz"))).await;
    assert_eq!(health.code, 503);
    assert!(
        health.text.contains("\"what\":\"stopping\""),
        "{}",
        health.text
    );
    let metrics = parse(&answer(client.get(format!("{base}/metrics"))).await.text);
    assert_eq!(metrics.get("serving"), 0.0);
    stopping.await.unwrap();
    put.await.unwrap().unwrap_err();
    drop(sender);
    assert!(client.get(format!("{base}/healthz")).send().await.is_err());
}
