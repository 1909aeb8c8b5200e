//! `examples/web_front`, run as its users run it: a front and back ends in processes of their own, far more requests than the
//! back ends do, and processes and servers that are killed in the middle.
//!
//! `cargo test --test web_front -- --nocapture` prints figures. What is asserted is what was answered, and bounds of memory;
//! never how fast.

#![cfg(all(feature = "demo", feature = "local", feature = "redis", feature = "rabbitmq"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "what a helper cannot do fails the test")]
#![allow(clippy::print_stdout, reason = "the figures")]

mod load;
mod scene;

use std::path::Path;

use manyhands_test_support::{
    kill::Signal,
    servers::{RabbitMq, Redis},
};
use tempfile::TempDir;
use tokio::task::JoinSet;

use load::Load;
use scene::{Scene, memory, squared};

/// What the back ends do a second: 2 tasks at a time, 40 ms each.
const RATE: u64 = 50;
const BACK: &str = "--slots 2 --time-ms 40";

/// By how much more is asked.
const OVERLOAD: u64 = 30;

/// A second's work of the back ends.
const CAPACITY: u64 = 50;

/// More than can be queued, so that there are always some that ask.
const CONNECTIONS: usize = 150;

/// By how much a process, or a store, may grow in ten seconds at full load and count as flat. The bodies of the requests have more
/// than 100 MiB.
const FLAT: u64 = 32 << 20;

fn local(folder: &TempDir) -> String {
    format!("local:{}", folder.path().display())
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let size = |path: &Path| {
        if path.is_dir() { bytes_in(path) } else { path.metadata().map_or(0, |data| data.len()) }
    };
    entries.map(|path| size(&path)).sum()
}

/// Two seconds to warm up, then ten seconds in which thirty times as much is asked as is done.
async fn overload(url: &str, store: impl Fn() -> u64) {
    let scene = Scene::new(url, &format!("--capacity {CAPACITY} --deadline-ms 4000")).await;
    let back = scene.back(BACK);
    let load = |seconds| Load {
        connections: CONNECTIONS,
        requests: seconds * RATE * OVERLOAD,
        rate: RATE * OVERLOAD,
    };
    load(2).run(&scene, async |_| {}).await;
    let before = (scene.front.memory(), store());
    let most = std::cell::Cell::new(0);
    let load = load(10);
    let tally = load.run(&scene, async |_| most.set(scene.status().await.unsettled().max(most.get()))).await;
    let after = (scene.front.memory(), store());
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!("{}", tally.figures());
    println!(
        "the front had {:.1} MiB and has {:.1}; the store {:.1} and {:.1}; {} queued at most",
        mib(before.0),
        mib(after.0),
        mib(before.1),
        mib(after.1),
        most.get()
    );
    tally.only(load.requests, &[200, 429, 504]);
    assert!(tally.of(200) > 0 && tally.of(429) > tally.of(200), "it is no overload: {tally:?}");
    assert!(most.get() <= CAPACITY, "{} are queued", most.get());
    assert!(after.0 < before.0 + FLAT, "the front grew from {} to {} bytes", before.0, after.0);
    assert!(after.1 < before.1 + FLAT, "the store grew from {} to {} bytes", before.1, after.1);
    scene.ends_clean().await;
    back.signal(Signal::TERM);
    assert_eq!(back.end(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_times_too_much_is_answered_over_local() {
    let folder = tempfile::tempdir().unwrap();
    overload(&local(&folder), || bytes_in(folder.path())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_times_too_much_is_answered_over_redis() {
    let redis = Redis::start().unwrap();
    overload(&redis.url(), || memory(redis.pid())).await;
}

/// Those that it held are done by the other, or their deadlines end.
async fn a_back_end_dies(url: &str) {
    let scene = Scene::new(url, &format!("--capacity {CAPACITY} --deadline-ms 4000")).await;
    let (victim, _other) = (scene.back(BACK), scene.back(BACK));
    let mut victim = Some(victim);
    let load = Load { connections: CONNECTIONS, requests: 3 * RATE * OVERLOAD, rate: RATE * OVERLOAD };
    let tally = load
        .run(&scene, async |sent| {
            if sent >= load.requests / 3
                && let Some(victim) = victim.take()
            {
                victim.signal(Signal::KILL);
                assert_eq!(victim.end(), None, "killed");
            }
        })
        .await;
    println!("a back end killed in the middle: {}", tally.figures());
    assert!(victim.is_none());
    tally.only(load.requests, &[200, 429, 504]);
    assert!(tally.of(200) > 0);
    scene.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_back_end_is_killed_over_local() {
    let folder = tempfile::tempdir().unwrap();
    a_back_end_dies(&local(&folder)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_back_end_is_killed_over_redis() {
    let redis = Redis::start().unwrap();
    a_back_end_dies(&redis.url()).await;
}

/// While the server is away it is said so; when it is back, so are the answers, and the queue is as short as it was, though the
/// server has forgotten all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_is_restarted() {
    for append_only in [true, false] {
        let options = Redis::options();
        let mut redis = if append_only { options.append_only() } else { options }.start().unwrap();
        let scene = Scene::new(&redis.url(), &format!("--capacity {CAPACITY} --deadline-ms 4000")).await;
        let _back = scene.back(BACK);
        let load = Load { connections: CONNECTIONS, requests: 3 * RATE * OVERLOAD, rate: RATE * OVERLOAD };
        let mut running = true;
        let tally = load
            .run(&scene, async |sent| {
                if running && sent >= load.requests / 3 {
                    redis.kill().unwrap();
                    running = false;
                }
            })
            .await;
        println!("the broker killed in the middle: {}", tally.figures());
        tally.only(load.requests, &[200, 429, 503, 504]);
        assert!(tally.of(200) > 0 && tally.of(503) > 0, "{tally:?}");
        let mut connection = scene.connect().await;
        assert_eq!(connection.square(1).await.status, 503);
        assert_eq!(connection.get("/tasks/a").await.status, 503);
        redis.restart().unwrap();
        let patience = std::time::Instant::now() + scene::PATIENCE;
        loop {
            let answer = connection.square(2).await;
            match answer.status.as_u16() {
                200 => break assert_eq!(answer.body, squared(2)),
                429 | 503 | 504 => assert!(std::time::Instant::now() < patience, "{answer:?}"),
                _ => panic!("{answer:?}"),
            }
        }
        let status = scene.ends_clean().await;
        assert_eq!(status.options.capacity, CAPACITY);
    }
}

/// Told to end, front and back ends do first what is under way.
async fn who_is_told_to_end_answers_first(url: &str) {
    const REQUESTS: u64 = 20;
    let scene = Scene::new(url, "--deadline-ms 50000").await;
    let mut requests = JoinSet::new();
    for number in 0..REQUESTS {
        let mut connection = scene.connect().await;
        requests.spawn(async move { (number, connection.square(number).await) });
    }
    scene.until(|status| status.ready == REQUESTS).await;
    // Half of them run there when it is told to end, and the rest nowhere.
    let first = scene.back("--slots 10 --time-ms 3000 --lease-ms 30000");
    scene.until(|status| status.leased == REQUESTS / 2).await;
    let mut idle = scene.connect().await;
    assert_eq!(idle.get("/").await.status, 404);
    first.signal(Signal::TERM);
    scene.front.signal(Signal::TERM);
    assert_eq!(first.end(), Some(0));
    assert_eq!(scene.status().await.unsettled(), REQUESTS / 2, "it has done its own, and no more");
    let second = scene.back("--slots 10 --time-ms 1");
    while let Some(answered) = requests.join_next().await {
        let (number, answer) = answered.unwrap();
        assert_eq!((answer.status.as_u16(), answer.body), (200, squared(number)));
    }
    scene.ends_clean().await;
    second.signal(Signal::TERM);
    assert_eq!(second.end(), Some(0));
    let address = scene.address;
    assert_eq!(scene.front.end(), Some(0), "though an idle connection is open");
    assert!(scene::Connection::open(address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_loses_nothing_over_local() {
    let folder = tempfile::tempdir().unwrap();
    who_is_told_to_end_answers_first(&local(&folder)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_loses_nothing_over_redis() {
    let redis = Redis::start().unwrap();
    who_is_told_to_end_answers_first(&redis.url()).await;
}

/// What is wrong with a request is said.
#[tokio::test]
async fn requests_that_are_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::new(&local(&folder), "--max-body 100").await;
    let mut connection = scene.connect().await;
    for body in
        ["", "{", "7", "{}", "{\"number\": \"7\"}", "{\"number\": 7, \"other\": 1}", "{\"number\": 1e99}"]
    {
        let answer = connection.post(body).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.body["error"].is_string(), "{answer:?}");
    }
    for (method, path, status, allow) in [
        ("GET", "/", 404, ""),
        ("POST", "/other", 404, ""),
        ("GET", "/squares", 405, "POST"),
        ("DELETE", "/tasks/a", 405, "GET"),
        ("GET", "/tasks/", 404, ""),
        ("GET", "/tasks/no%20id", 404, ""),
        ("GET", "/tasks/unknown", 404, ""),
    ] {
        let answer = connection.request(method, path, &[], "").await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (status, allow), "{method} {path}");
    }
    let large = format!("{{\"number\": 7{}}}", " ".repeat(100));
    assert_eq!(connection.post(&large).await.status, 413);
    assert_eq!(scene.status().await.unsettled(), 0, "nothing of it was queued");
    let _back = scene.back(BACK);
    let mut connection = scene.connect().await;
    let failed = connection.square(1 << 40).await;
    assert_eq!((failed.status.as_u16(), &failed.body["error"]), (502, &"the square is too large".into()));
}

/// Without back ends, the queue fills and deadlines end; what nobody waits for any more is not worked on. What is asked for later
/// waits, and its answer is kept.
#[tokio::test]
async fn full_too_late_and_later() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::new(&local(&folder), "--capacity 2 --deadline-ms 1000").await;
    let mut connections = [scene.connect().await, scene.connect().await, scene.connect().await];
    let [one, two, three] = &mut connections;
    let prefer = [("prefer", "wait=10, respond-async")];
    let later = one.request("POST", "/squares", &prefer, "{\"number\": 12}").await;
    assert_eq!(later.status, 202, "{later:?}");
    let place = later.header("location").to_owned();
    assert_eq!(later.body["task"], place.as_str());
    assert_eq!(one.get(&place).await.status, 202);
    let (late, ()) = tokio::join!(one.square(3), async {
        scene.until(|status| status.ready == 2).await;
        let full = two.square(4).await;
        assert_eq!((full.status.as_u16(), full.header("retry-after")), (429, "1"));
    });
    assert_eq!(late.status, 504);
    let _back = scene.back(BACK);
    let status = scene.ends_clean().await;
    assert_eq!(status.dead, 1, "it was given up");
    let answer = three.get(&place).await;
    assert_eq!((answer.status.as_u16(), answer.body), (200, squared(12)));
    let given_up = three.get(late.header("location")).await;
    assert_eq!(given_up.status, 502, "{given_up:?}");
}

/// There, tasks do not expire, and an answer comes to the front that asked.
#[tokio::test]
async fn over_rabbitmq() {
    let namespace = format!("front-{}", std::process::id());
    let url = format!("{}?namespace={namespace}", RabbitMq::shared_url().unwrap());
    let scene = Scene::new(&url, "--deadline-ms 50000").await;
    let _back = scene.back(BACK);
    let mut connection = scene.connect().await;
    for number in 0..20 {
        let answer = connection.square(number).await;
        assert_eq!((answer.status.as_u16(), answer.body), (200, squared(number)));
    }
    let prefer = [("prefer", "respond-async")];
    let later = connection.request("POST", "/squares", &prefer, "{\"number\": 12}").await;
    assert_eq!(later.status, 202, "{later:?}");
    scene.ends_clean().await;
    let answer = connection.get(later.header("location")).await;
    assert_eq!((answer.status.as_u16(), answer.body), (200, squared(12)));
}
