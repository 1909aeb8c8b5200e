//! The servers start, die, come back with their data, and leave nothing, whoever is killed.

#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails the test")]
#![allow(clippy::print_stdout, reason = "the other process's words to its parent, and the figures")]

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use manyhands_test_support::{
    kill::{self, Watch, descendants},
    servers::{Detached, RabbitMq, Redis},
};

/// Set for the process that a test starts, to kill it or to be alone: this program again, in the same test.
const VICTIM: &str = "MANYHANDS_TEST_VICTIM";

/// How long an end may take that follows from another one.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test in a process of its own, so that it can count what that one started.
fn apart(test: &str, body: fn()) {
    if env::var_os(VICTIM).is_some() {
        return body();
    }
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(VICTIM, "1");
    assert!(command.status().unwrap().success(), "see above");
}

/// Says words to a Redis server and returns the answer.
fn say(redis: &Redis, words: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, redis.port())).unwrap();
    stream.write_all(format!("{words}\r\nQUIT\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.strip_suffix("+OK\r\n").unwrap().to_owned()
}

/// What libfaketime left of a process.
fn faked(pid: u32) -> bool {
    Path::new(&format!("/dev/shm/faketime_shm_{pid}")).exists()
        || Path::new(&format!("/dev/shm/sem.faketime_sem_{pid}")).exists()
}

#[test]
fn redis_leaves_nothing() {
    apart("redis_leaves_nothing", || {
        let redis = Redis::options().clock().start().unwrap();
        let (folder, port, pid) = (redis.folder().to_owned(), redis.port(), redis.pid());
        let watch = Watch::open(pid).unwrap();
        redis.stop();
        assert!(watch.ended(Duration::ZERO).unwrap());
        assert!(!folder.exists() && !faked(pid));
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(descendants(std::process::id()).is_empty(), "the guard has ended too");
    });
}

#[test]
fn redis_keeps_what_it_is_told_to_keep() {
    for kept in [true, false] {
        let options = Redis::options();
        let mut redis = if kept { options.append_only() } else { options }.start().unwrap();
        let url = redis.url();
        assert_eq!(say(&redis, "SET a 1"), "+OK\r\n");
        redis.kill().unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, redis.port())).unwrap_err();
        redis.restart().unwrap();
        assert_eq!(say(&redis, "GET a"), if kept { "$1\r\n1\r\n" } else { "$-1\r\n" });
        redis.restart().unwrap();
        assert_eq!(redis.url(), url);
    }
}

#[test]
fn redis_goes_by_the_clock_that_a_test_moves() {
    let mut redis = Redis::options().clock().start().unwrap();
    let time = |redis: &Redis| say(redis, "TIME").lines().nth(2).unwrap().parse::<u64>().unwrap();
    assert_eq!(time(&redis), 1_767_225_600);
    redis.set_clock(Duration::from_secs(86_400)).unwrap();
    assert_eq!(time(&redis), 1_767_225_600 + 86_400);
    redis.restart().unwrap();
    assert_eq!(time(&redis), 1_767_225_600 + 86_400, "a restart does not turn it back");
    Redis::start().unwrap().set_clock(Duration::ZERO).unwrap_err();
}

#[test]
fn a_suspended_redis_does_not_answer_until_it_is_resumed() {
    let redis = Redis::start().unwrap();
    redis.suspend().unwrap();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, redis.port())).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    stream.read(&mut [0; 9]).unwrap_err();
    redis.resume().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.read_exact(&mut [0; 7]).unwrap();
}

/// Tells what a server answers to the beginning of a connection.
fn greeting(port: u16) -> std::io::Result<u8> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.write_all(b"AMQP\0\0\x09\x01")?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    Ok(kind[0])
}

#[test]
fn rabbitmq_dies_comes_back_and_leaves_nothing() {
    apart("rabbitmq_dies_comes_back_and_leaves_nothing", || {
        let start = Instant::now();
        let mut rabbit = RabbitMq::options().heartbeat(Duration::from_secs(2)).start().unwrap();
        let started = start.elapsed();
        assert_eq!(greeting(rabbit.port()).unwrap(), 1);
        let family = |rabbit: &RabbitMq| {
            let pids = descendants(std::process::id());
            assert!(pids.contains(&rabbit.pid()) && pids.len() > 4, "{pids:?}");
            pids.into_iter().map(|pid| Watch::open(pid).unwrap()).collect::<Vec<_>>()
        };
        let before = family(&rabbit);
        rabbit.kill().unwrap();
        greeting(rabbit.port()).unwrap_err();
        let alive = before.iter().filter(|watch| !watch.ended(Duration::ZERO).unwrap()).count();
        assert_eq!(alive, 2, "the guard and epmd, not the server");
        let start = Instant::now();
        rabbit.restart().unwrap();
        println!("rabbitmq: {started:.1?} to start, {:.1?} to start again", start.elapsed());
        assert_eq!(greeting(rabbit.port()).unwrap(), 1);
        let (folder, after) = (rabbit.folder().to_owned(), family(&rabbit));
        rabbit.stop();
        assert!(!folder.exists());
        assert!(before.iter().chain(&after).all(|watch| watch.ended(Duration::ZERO).unwrap()));
    });
}

/// The other process starts a server in a static, as [`RabbitMq::shared_url`] does, and tells where it is.
fn victim(name: &str) -> (std::process::Child, PathBuf) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(VICTIM, "1")
        .env_remove("MANYHANDS_TEST_RABBITMQ")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines().map(Result::unwrap);
    let folder = lines.find_map(|line| line.strip_prefix("@ ").map(PathBuf::from)).unwrap();
    (child, folder)
}

#[test]
fn a_detached_server_runs_until_it_is_told_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::options().append_only().detach(folder.path()).unwrap();
    assert!(redis.is_running().unwrap());
    let pids = redis.running().unwrap();
    // As another process finds it.
    let text = serde_json::to_string(&redis).unwrap();
    let found: Detached = serde_json::from_str(&text).unwrap();
    let other = text.replace("\"started\":", "\"started\":1");
    let other: Detached = serde_json::from_str(&other).unwrap();
    other.kill().unwrap();
    assert!(found.is_running().unwrap(), "another process with its pid is not ours to end");
    found.kill().unwrap();
    assert!(redis.running().unwrap().is_empty());
    assert_eq!(kill::started(pids[0]), None);
    found.kill().unwrap();
}

#[test]
fn a_detached_rabbitmq_ends_with_all_its_processes() {
    apart("a_detached_rabbitmq_ends_with_all_its_processes", || {
        let folder = tempfile::tempdir().unwrap();
        let rabbit = RabbitMq::options().detach(folder.path()).unwrap();
        assert!(rabbit.is_running().unwrap());
        let family = descendants(std::process::id());
        let family: Vec<_> = family.into_iter().map(|pid| Watch::open(pid).unwrap()).collect();
        rabbit.kill().unwrap();
        assert!(family.len() > 3 && family.iter().all(|watch| watch.ended(Duration::ZERO).unwrap()));
    });
}

/// Says where the server is, and waits to be killed, or until nobody is there to do so.
fn die(folder: &Path) {
    println!("\n@ {}", folder.display());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

fn all_end(pids: &[u32], folder: &Path) {
    let patience = Instant::now() + PATIENCE;
    for pid in pids {
        if let Ok(watch) = Watch::open(*pid) {
            watch.end(PATIENCE).unwrap();
        }
    }
    while folder.exists() {
        assert!(Instant::now() < patience, "{} is left", folder.display());
        std::thread::yield_now();
    }
}

#[test]
fn redis_ends_with_a_killed_test() {
    if env::var_os(VICTIM).is_some() {
        return die(Redis::options().clock().start().unwrap().folder());
    }
    let (mut child, folder) = victim("redis_ends_with_a_killed_test");
    let pids = descendants(child.id());
    assert_eq!(pids.len(), 2, "the guard and the server");
    kill::kill(child.id()).unwrap();
    child.wait().unwrap();
    all_end(&pids, &folder);
    let patience = Instant::now() + PATIENCE;
    // Only of the server: other processes may have the numbers of servers that were killed long ago.
    while faked(pids[0]) || faked(pids[1]) {
        assert!(Instant::now() < patience, "what libfaketime made is left");
        std::thread::yield_now();
    }
}

#[test]
fn rabbitmq_ends_with_a_killed_test() {
    if env::var_os(VICTIM).is_some() {
        return die(RabbitMq::start().unwrap().folder());
    }
    let (mut child, folder) = victim("rabbitmq_ends_with_a_killed_test");
    let pids = descendants(child.id());
    assert!(pids.len() > 4, "the guard, epmd, the server and its helpers");
    kill::kill(child.id()).unwrap();
    child.wait().unwrap();
    all_end(&pids, &folder);
}

/// The process ends as tests do, without dropping what is static.
#[test]
fn the_shared_rabbitmq_ends_with_its_process() {
    if env::var_os(VICTIM).is_some() {
        let url = RabbitMq::shared_url().unwrap();
        assert_eq!(RabbitMq::shared_url().unwrap(), url, "started once");
        return die(Path::new(&url));
    }
    let (mut child, url) = victim("the_shared_rabbitmq_ends_with_its_process");
    let url = url.to_str().unwrap();
    let port = url.rsplit_once(':').unwrap().1.parse().unwrap();
    assert_eq!(greeting(port).unwrap(), 1);
    let pids = descendants(child.id());
    drop(child.stdin.take());
    // Read to the end, as what it still says must go somewhere.
    child.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
    assert!(child.wait().unwrap().success());
    all_end(&pids, Path::new("/nowhere"));
}
