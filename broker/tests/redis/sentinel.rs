//! Sentinels: sessions follow the master that they name, also when it changes.
//!
//! Replication is asynchronous: what a master answered just before it is gone may be unknown to the replica that takes its place. How much that is
//! is measured here and printed. `MANYHANDS_TEST_LONG` set: ten failovers of each kind.

use std::time::Instant;

use manyhands_test_support::{
    Authority,
    servers::{RedisOptions, Sentinel, Watched},
};

use super::{
    load::{Load, Told},
    urls::server,
    *,
};

/// How long before a master was replaced what it accepted may have been lost with it.
const BEFORE: Duration = Duration::from_millis(100);

async fn open(url: &str) -> manyhands_broker::Result<Arc<dyn Broker>> {
    connect(&url.parse().unwrap()).await
}

fn rounds() -> usize {
    if std::env::var_os("MANYHANDS_TEST_LONG").is_some() { 10 } else { 1 }
}

/// Lets a master be replaced a few times under load, and prints what was lost.
async fn replaced(what: &str, options: &RedisOptions, mut replace: impl FnMut(&mut Watched, usize)) {
    let mut watched = Watched::start(3, 3, options).unwrap();
    let load = Load::start(&watched.url()).await;
    let mut blows = Vec::new();
    for _ in 0..rounds() {
        load.progress(500).await;
        let (master, known, blow) = (watched.master().unwrap(), load.told().generations(), Instant::now());
        replace(&mut watched, master);
        // Nobody tells us: these are asked as an operator would.
        while watched.master().unwrap() == master {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let told = blow.elapsed();
        load.beyond(known).await;
        load.progress(500).await;
        watched.return_of(master).unwrap();
        blows.push((blow, told));
    }
    let told = load.end().await;
    told.check();
    // More, where a loaded machine let the Sentinels believe once more that a master is gone.
    assert!(told.generations() > rounds(), "a generation a master: {:?}", told.errors);
    report(what, &told, &blows);
    let broker = open(&watched.url()).await.unwrap();
    assert!(broker.fsck().unwrap().fsck(false).await.unwrap().is_clean());
    let checks = broker.doctor().unwrap().examine().await.unwrap();
    let check = checks.iter().find(|check| check.what == "sentinel").unwrap();
    assert!(check.verdict == Verdict::Ok && check.found.contains("2 replicas"), "{check:?}");
}

/// Prints what was lost at each of these moments, after which another master was named so much later.
#[expect(clippy::print_stdout, reason = "what is measured is the result")]
fn report(what: &str, told: &Told, blows: &[(Instant, Duration)]) {
    let lost = told.lost();
    println!(
        "{what}: {} masters; of {} tasks {} never ran, {} were never settled, {} settled again; at most {:?} between two calls that were accepted",
        told.generations(),
        told.accepted.len(),
        lost.len(),
        told.unsettled(),
        told.again(),
        told.stood
    );
    for (at, (blow, told)) in blows.iter().enumerate() {
        let until = blows.get(at + 1).map(|(next, _)| *next);
        let here = |moment: &&Instant| {
            **moment + BEFORE > *blow && until.is_none_or(|until| **moment + BEFORE < until)
        };
        let ms = |moment: &Instant| match moment.checked_duration_since(*blow) {
            Some(after) => after.as_secs_f64() * 1e3,
            None => -(*blow - *moment).as_secs_f64() * 1e3,
        };
        let lost: Vec<_> = lost.iter().filter(here).map(ms).collect();
        let span = lost.first().zip(lost.last()).map_or(String::new(), |(first, last)| {
            format!(", accepted from {first:.1} to {last:.1} ms after it")
        });
        println!("  {what} {}: named after {told:?}; {} lost{span}", at + 1, lost.len());
    }
    for error in &told.errors {
        println!("  {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_with_the_replica_that_takes_the_place_of_a_killed_master() {
    replaced("killed", &Redis::options(), |watched, master| watched.servers[master].kill().unwrap()).await;
}

/// As an operator does it for an upgrade: the old master lives, and does not know for a while that it was replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_leaves_a_master_that_was_replaced_and_lives() {
    replaced("replaced", &Redis::options(), replace).await;
}

/// As where a network is torn: its clients reach the old master, and nobody else does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_leaves_a_master_that_is_cut_off_when_another_one_is_named() {
    replaced("cut off", &Redis::options(), cut_off).await;
}

/// A master that takes nothing without a replica takes nothing that would be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_cut_off_and_needs_a_replica_refuses() {
    let options = Redis::options().with("min-replicas-to-write", 1);
    replaced("cut off, min-replicas-to-write 1", &options, cut_off).await;
}

/// Locks out all but those who are connected already and are neither replicas nor Sentinels.
fn cut_off(watched: &mut Watched, master: usize) {
    let server = &watched.servers[master];
    let clients = server.say("CLIENT LIST").unwrap();
    let sentinels = clients.lines().filter(|client| client.contains("name=sentinel-"));
    let ids = sentinels.filter_map(|client| client.split(' ').find_map(|word| word.strip_prefix("id=")));
    let mut lines =
        vec!["ACL SETUSER default resetpass >torn".to_owned(), "CLIENT KILL TYPE replica".to_owned()];
    lines.extend(ids.map(|id| format!("CLIENT KILL ID {id}")));
    server.say(&lines.join("\r\n")).unwrap();
}

fn replace(watched: &mut Watched, _master: usize) {
    loop {
        let answer = watched.sentinels[0].say("SENTINEL FAILOVER main").unwrap();
        if answer.starts_with("+OK") {
            break;
        }
        // Another one is not quite over, or a replica is not known yet to be well.
        assert!(answer.starts_with("-INPROG") || answer.starts_with("-NOGOODSLAVE"), "{answer}");
    }
}

/// A Sentinel that watches these masters, and has nobody to replace them with.
fn sentinel(masters: &[(&str, &Redis)]) -> Sentinel {
    let monitor =
        |(name, redis): &(&str, &Redis)| format!("sentinel monitor {name} 127.0.0.1 {} 2", redis.port());
    Sentinel::start(&masters.iter().map(monitor).collect::<Vec<_>>()).unwrap()
}

async fn refused(url: &str, kind: ErrorKind, parts: &[&str]) {
    let error = open(url).await.unwrap_err();
    let (said, advice) = (error.report(), error.advice().unwrap_or_default());
    assert_eq!(error.kind(), kind, "{url}: {said}");
    assert!(parts.iter().all(|part| format!("{said} {advice}").contains(part)), "{url}: {said} ({advice})");
    assert!(!format!("{error:?}").contains("s3same"), "{error:?}");
}

#[tokio::test]
async fn the_master_is_chosen_by_its_name() {
    let (films, books) = (Redis::start().unwrap(), Redis::start().unwrap());
    let both = sentinel(&[("films", &films), ("books", &books)]);
    let one = sentinel(&[("films", &films)]);
    let mut gone = sentinel(&[]);
    gone.kill().unwrap();
    let hosts = format!("redis://127.0.0.1:{},127.0.0.1:{}", gone.port(), both.port());
    // The first one is dead, and the second one knows.
    enqueue(&*open(&format!("{hosts}?master=films")).await.unwrap(), &[task(9)]).await;
    let ready = async |url: String| {
        open(&url).await.unwrap().status(&queue()).await.unwrap().map(|status| status.ready)
    };
    assert_eq!(
        ready(format!("redis://127.0.0.1:{}", one.port())).await,
        Some(1),
        "the only one that it watches"
    );
    assert_eq!(ready(films.url()).await, Some(1));
    assert_eq!(ready(format!("{hosts}?master=books")).await, None);
    assert_eq!(ready(format!("{hosts}/3?master=films")).await, None, "another database");
    let both = format!("redis://127.0.0.1:{}", both.port());
    refused(&both, ErrorKind::Invalid, &["several masters: books, films", "?master="]).await;
    refused(
        &format!("{both}?master=songs"),
        ErrorKind::Invalid,
        &["no master \"songs\"", "books", "?master="],
    )
    .await;
    refused(&hosts, ErrorKind::Invalid, &["several masters", "cannot be reached"]).await;
    let idle = sentinel(&[]);
    let none = format!("redis://127.0.0.1:{}", idle.port());
    refused(&none, ErrorKind::Invalid, &["watches no master"]).await;
}

#[tokio::test]
async fn a_master_that_is_none_is_said_to_be_so_by_the_sentinel() {
    let mut films = Redis::start().unwrap();
    let watch = sentinel(&[("films", &films)]);
    let url = format!("redis://127.0.0.1:{}", watch.port());
    let broker = open(&url).await.unwrap();
    enqueue(&*broker, &[task(9)]).await;
    let says = format!(
        "the sentinel 127.0.0.1:{} says that the master \"films\" is at 127.0.0.1:{}",
        watch.port(),
        films.port()
    );
    films.say("REPLICAOF 127.0.0.1 1").unwrap();
    refused(&url, ErrorKind::Unavailable, &[&says, "a replica"]).await;
    films.say("REPLICAOF NO ONE").unwrap();
    assert_eq!(broker.status(&queue()).await.unwrap().unwrap().ready, 1);
    films.suspend().unwrap();
    refused(&url, ErrorKind::Unavailable, &[&says, "did not answer in time"]).await;
    films.kill().unwrap();
    refused(&url, ErrorKind::Unavailable, &[&says, "cannot be reached"]).await;
    // Without Sentinels, the first of several servers that is no replica is the one.
    let mut servers = [Redis::start().unwrap(), Redis::start().unwrap()];
    servers[0].say(&format!("REPLICAOF 127.0.0.1 {}", servers[1].port())).unwrap();
    let several = format!("redis://127.0.0.1:{},127.0.0.1:{}", servers[0].port(), servers[1].port());
    enqueue(&*open(&several).await.unwrap(), &[task(9)]).await;
    servers[1].kill().unwrap();
    refused(&several, ErrorKind::Unavailable, &["a replica", "cannot be reached"]).await;
}

/// One that was cut off while the others agreed on another master names the old one, which may take tasks that nobody will see.
#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_that_knows_less_than_another_one_is_not_believed() {
    let (old, new) = (Redis::start().unwrap(), Redis::start().unwrap());
    let knows = |master: &Redis, configuration| {
        let monitor = format!("sentinel monitor films 127.0.0.1 {} 2", master.port());
        Sentinel::start(&[monitor, format!("sentinel config-epoch films {configuration}")]).unwrap()
    };
    let (mut outdated, mut informed) = (knows(&old, 3), knows(&new, 4));
    let url = |first: &Sentinel, second: &Sentinel| {
        format!("redis://127.0.0.1:{},127.0.0.1:{}", first.port(), second.port())
    };
    let led = open(&url(&outdated, &informed)).await.unwrap();
    enqueue(&*led, &[task(9)]).await;
    assert_eq!(open(&old.url()).await.unwrap().status(&queue()).await.unwrap().unwrap().ready, 1);
    // It hears of the new master when it asks the other one.
    let hint = led.wait(&[queue()]);
    outdated.kill().unwrap();
    tokio::time::timeout(Duration::from_secs(60), hint).await.expect("that the master is left is told");
    let left = async {
        loop {
            let hint = led.wait(&[queue()]);
            if led.status(&queue()).await.unwrap().is_none() {
                break;
            }
            // That the connection is given up is told.
            hint.await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), left).await.expect("the master is left");
    enqueue(&*led, &[task(9), task(9)]).await;
    assert_eq!(open(&new.url()).await.unwrap().status(&queue()).await.unwrap().unwrap().ready, 2);
    let outdated = knows(&old, 3);
    let told = open(&url(&informed, &outdated)).await.unwrap();
    assert_eq!(told.status(&queue()).await.unwrap().unwrap().ready, 2);
    informed.kill().unwrap();
    told.rebuild().await;
    let error = told.status(&queue()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("configuration 3, and another one told 4"), "{}", error.report());
    // Nor by the connection that calls from elsewhere have, which is made only now.
    let elsewhere = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(told.status(&queue()))
    };
    let error = tokio::task::spawn_blocking(elsewhere).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("configuration 3, and another one told 4"), "{}", error.report());
}

#[tokio::test]
async fn sentinels_and_the_master_encrypt() {
    let ours = Authority::new().unwrap();
    let films = server(&ours, "127.0.0.1", "no");
    let file = |name: &str| ours.file(name).display().to_string();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let watch = Sentinel::start(&[
        format!("tls-port {port}"),
        format!("tls-ca-cert-file {}", file("ca.pem")),
        format!("tls-cert-file {}", file("127.0.0.1.pem")),
        format!("tls-key-file {}", file("127.0.0.1.key")),
        "tls-auth-clients no".to_owned(),
        format!("sentinel monitor films 127.0.0.1 {} 1", films.tls_port().unwrap()),
    ]);
    let _watch = watch.unwrap();
    let url = format!("rediss://127.0.0.1:{port}?ca={}", file("ca.pem"));
    enqueue(&*open(&url).await.unwrap(), &[task(9)]).await;
    assert_eq!(open(&films.url()).await.unwrap().status(&queue()).await.unwrap().unwrap().ready, 1);
}

#[tokio::test]
async fn sentinels_and_the_master_have_passwords_of_their_own() {
    let films = Redis::start().unwrap();
    let (open_to_all, closed) = (sentinel(&[("films", &films)]), sentinel(&[("films", &films)]));
    for rule in
        ["queues on >s3same ~mh:* resetchannels &mh:* +@all -@dangerous +info", "default resetpass >s3same"]
    {
        assert!(films.say(&format!("ACL SETUSER {rule}")).unwrap().starts_with("+OK"));
    }
    assert!(closed.say("ACL SETUSER default resetpass >hush").unwrap().starts_with("+OK"));
    let (all, closed) = (format!("127.0.0.1:{}", open_to_all.port()), format!("127.0.0.1:{}", closed.port()));
    for user in [":s3same", "queues:s3same"] {
        enqueue(&*open(&format!("redis://{user}@{all}")).await.unwrap(), &[task(9)]).await;
        let url = format!("redis://{user}@{closed}?sentinel_password=hush");
        enqueue(&*open(&url).await.unwrap(), &[task(9)]).await;
    }
    refused(
        &format!("redis://:mustard@{all}"),
        ErrorKind::Unavailable,
        &["says that the master", "password is wrong"],
    )
    .await;
    refused(&format!("redis://:s3same@{closed}"), ErrorKind::Unavailable, &["password is wrong"]).await;
    refused(&format!("redis://{closed}"), ErrorKind::Unavailable, &["wants a password"]).await;
    refused(
        &format!("redis://:s3same@{closed}?sentinel_password=s3same"),
        ErrorKind::Unavailable,
        &["password is wrong"],
    )
    .await;
    let server = format!("redis://:s3same@127.0.0.1:{}?sentinel_password=s3same", films.port());
    refused(&server, ErrorKind::Invalid, &["is no sentinel"]).await;
    let server = format!("redis://:s3same@127.0.0.1:{}?master=films", films.port());
    refused(&server, ErrorKind::Invalid, &["is no sentinel"]).await;
}
