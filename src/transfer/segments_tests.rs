use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::*;

const MIB: u64 = 1 << 20;
const PIECE: u64 = 64 << 10;

/// A file whose bytes tell where they are, and what is asked of it.
#[derive(Debug, Default)]
struct Server {
    /// Bytes that were given.
    given: AtomicU64,
    open: AtomicUsize,
    most_open: AtomicUsize,
    /// Segments, in the order of their opening.
    ranges: Mutex<Vec<Range<u64>>>,
    /// From this byte on, this many failures.
    failures: Mutex<Vec<(u64, Kind)>>,
    /// Between two pieces.
    pace: Duration,
}

struct Given {
    server: Arc<Server>,
    range: Range<u64>,
}

impl Drop for Given {
    fn drop(&mut self) {
        self.server.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn byte(at: u64) -> u8 {
    (at / 7 % 251) as u8
}

impl Source for Given {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        tokio::time::sleep(self.server.pace).await;
        let Range { start, end } = self.range;
        if start == end {
            return Ok(None);
        }
        let next = (start + PIECE).min(end);
        let mut failures = self.server.failures.lock().unwrap();
        if let Some(at) = failures
            .iter()
            .position(|(at, _)| (start..next).contains(at))
        {
            let (_, kind) = failures.remove(at);
            return Err(Error::new("download", kind, "a fault"));
        }
        self.range.start = next;
        self.server.given.fetch_add(next - start, Ordering::Relaxed);
        Ok(Some((start..next).map(byte).collect::<Vec<_>>().into()))
    }
}

fn segments(
    server: &Arc<Server>,
    connections: &Arc<Connections>,
    width: usize,
    range: Range<u64>,
) -> Segments<Given> {
    let server = Arc::clone(server);
    let open = move |range: Range<u64>| {
        let open = server.open.fetch_add(1, Ordering::Relaxed) + 1;
        server.most_open.fetch_max(open, Ordering::Relaxed);
        server.ranges.lock().unwrap().push(range.clone());
        let server = Arc::clone(&server);
        Given { server, range }
    };
    let plan = Plan::new(width, MIB);
    Segments::new(open, Arc::clone(connections), plan, range)
}

fn paced(milliseconds: u64) -> Arc<Server> {
    Arc::new(Server {
        pace: Duration::from_millis(milliseconds),
        ..Server::default()
    })
}

async fn read(segments: &mut Segments<Given>, range: Range<u64>) -> Result<(), Error> {
    let mut at = range.start;
    while let Some(bytes) = segments.next().await? {
        for (index, found) in bytes.iter().enumerate() {
            assert_eq!(*found, byte(at + index as u64), "byte {at}");
        }
        at += bytes.len() as u64;
    }
    assert_eq!(at, range.end);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn all_bytes_come_in_order_as_fast_as_all_connections_together() {
    for (width, range) in [
        (1, 5..8 * MIB),
        (2, 5..8 * MIB + 3),
        (4, 0..24 * MIB),
        (4, 7..MIB + 8),
        (16, 0..3 * MIB),
    ] {
        let (server, connections) = (paced(10), Connections::new("test", 16));
        let start = tokio::time::Instant::now();
        let mut segments = segments(&server, &connections, width, range.clone());
        read(&mut segments, range.clone()).await.unwrap();
        let length = range.end - range.start;
        let needed = length.div_ceil(MIB) as usize;
        assert_eq!(server.ranges.lock().unwrap().len(), needed);
        assert_eq!(server.most_open.load(Ordering::Relaxed), width.min(needed));
        assert_eq!(server.given.load(Ordering::Relaxed), length);
        // Virtual time: 16 pieces of 10 ms for each segment.
        let alone = Duration::from_millis(10) * (length.div_ceil(PIECE) as u32);
        if needed == 24 {
            let speedup = alone.as_secs_f64() / start.elapsed().as_secs_f64();
            assert!(speedup > 3.3, "only {speedup:.1} times as fast");
        }
        drop(segments);
        for _ in 0..16 {
            std::mem::forget(connections.take().expect("all are free again"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_bytes_are_not_held_up_and_nothing_else_is_asked_for_before() {
    let (server, connections) = (paced(10), Connections::new("test", 16));
    let mut segments = segments(&server, &connections, 4, 0..8 * MIB);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(server.open.load(Ordering::Relaxed), 0, "nobody asked");
    let start = tokio::time::Instant::now();
    segments.next().await.unwrap();
    assert!(start.elapsed() <= Duration::from_millis(11));
    let opened = server.ranges.lock().unwrap().clone();
    assert_eq!((opened.len(), &opened[0]), (1, &(0..MIB)));
    segments.next().await.unwrap();
    assert_eq!(server.ranges.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_stops_the_segments() {
    let (server, connections) = (paced(1), Connections::new("test", 16));
    let mut segments = segments(&server, &connections, 4, 0..64 * MIB);
    let mut taken = 0;
    while taken < 3 * MIB {
        taken += segments.next().await.unwrap().unwrap().len() as u64;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let waiting = server.given.load(Ordering::Relaxed) - taken;
    // Three quarters of each, and the piece that finds no room any more.
    let most = 4 * (MIB * 3 / 4 + PIECE);
    assert!(waiting <= most, "{waiting} bytes wait");
    assert!(waiting >= 2 * MIB, "only {waiting} bytes wait");
    segments.park();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(server.open.load(Ordering::Relaxed), 0);
    assert!((0..16).filter_map(|_| connections.take()).count() == 16);
    read(&mut segments, taken..64 * MIB).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_free_connections_it_goes_on_with_fewer() {
    for (free, expected) in [(1, 1), (2, 2), (3, 3), (9, 4)] {
        let (server, connections) = (paced(1), Connections::new("test", free));
        let mut segments = segments(&server, &connections, 4, 0..8 * MIB);
        read(&mut segments, 0..8 * MIB).await.unwrap();
        assert_eq!(server.most_open.load(Ordering::Relaxed), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn connections_that_others_wait_for_go_to_them_but_for_one() {
    let (server, connections) = (paced(1), Connections::new("test", 3));
    let mut segments = segments(&server, &connections, 3, 0..32 * MIB);
    segments.next().await.unwrap();
    segments.next().await.unwrap();
    assert!(connections.take().is_none());
    let others = Arc::clone(&connections);
    let others = tokio::spawn(async move { (others.wait().await, others.wait().await) });
    tokio::task::yield_now().await;
    assert!(segments.is_in_the_way());
    read(&mut segments, 2 * PIECE..32 * MIB).await.unwrap();
    let (first, second) = others.await.unwrap();
    assert!(first.is_ok() && second.is_ok());
    assert!(!segments.is_in_the_way());
}

#[tokio::test(start_paused = true)]
async fn what_fails_over_several_connections_is_tried_over_one() {
    for at in [10 * PIECE, 2 * MIB + 5] {
        let (server, connections) = (paced(1), Connections::new("test", 16));
        server.failures.lock().unwrap().push((at, Kind::Server));
        let mut segments = segments(&server, &connections, 4, 0..8 * MIB);
        read(&mut segments, 0..8 * MIB).await.unwrap();
    }
    // Not twice, and not what cannot get better.
    for failures in [vec![Kind::Server, Kind::Server], vec![Kind::NotFound]] {
        let (server, connections) = (paced(1), Connections::new("test", 16));
        let last = *failures.last().unwrap();
        let failures = failures.into_iter().map(|kind| (3 * MIB, kind));
        server.failures.lock().unwrap().extend(failures);
        let mut segments = segments(&server, &connections, 4, 0..8 * MIB);
        let error = read(&mut segments, 0..8 * MIB).await.unwrap_err();
        assert_eq!(error.kind(), last);
    }
}

#[test]
fn no_more_is_ahead_than_makes_it_faster() {
    assert_eq!(Plan::new(4, 16 << 20).ahead, 12 << 20);
    assert_eq!(Plan::new(2, 16 << 20).ahead, 8 << 20);
    assert_eq!(Plan::new(1, 16 << 20).ahead, 1);
    assert_eq!(Plan::new(30, 1 << 28).ahead, (1 << 28) / 30 * 29 + 29);
}
