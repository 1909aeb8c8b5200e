//! A namespace of Redis, damaged by another client.

use std::sync::{
    Mutex,
    atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use manyhands_broker::{Order, connect};
use manyhands_test_support::servers;

use super::{orders::*, *};

/// A namespace of a server that the test's others share.
pub(crate) struct Redis<'s> {
    server: &'s Server,
    namespace: String,
}

pub(crate) struct Server {
    server: servers::Redis,
    moved: Mutex<Duration>,
    namespaces: AtomicU32,
}

impl Server {
    pub(crate) fn start() -> Self {
        let server = servers::Redis::options().clock().start().unwrap();
        Self { server, moved: Mutex::new(Duration::ZERO), namespaces: AtomicU32::new(0) }
    }

    pub(crate) fn namespace(&self) -> Redis<'_> {
        let number = self.namespaces.fetch_add(1, Ordering::SeqCst);
        Redis { server: self, namespace: format!("n{number}") }
    }
}

impl Redis<'_> {
    /// Says something to the server as another client: words, where `KEY:part` is a key of the queue and `OWN:part` one of the
    /// namespace, in lines.
    pub(crate) async fn say(&self, lines: &str) {
        let client = redis::Client::open(self.server.server.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        for line in lines.split("; ") {
            let mut words = line.split(' ').map(|word| match word.split_once(':') {
                Some(("KEY", part)) => format!("mh:{{{}}}:{part}:q", self.namespace),
                Some(("OWN", "")) => format!("mh:{{{}}}", self.namespace),
                Some(("OWN", part)) => format!("mh:{{{}}}:{part}", self.namespace),
                _ => word.to_owned(),
            });
            let mut command = redis::cmd(&words.next().unwrap());
            for word in words {
                command.arg(bytes(&word));
            }
            command.query_async::<redis::Value>(&mut connection).await.unwrap();
        }
    }

    /// Changes the state of an id.
    async fn change(&self, id: &str, change: &str) {
        let script = format!(
            "local p = cmsgpack.unpack(string.sub(redis.call('HGET', KEYS[1], ARGV[1]), 2)); {change}; \
             return redis.call('HSET', KEYS[1], ARGV[1], '\\1' .. cmsgpack.pack(p))"
        );
        let client = redis::Client::open(self.server.server.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let key = format!("mh:{{{}}}:state:q", self.namespace);
        let script = redis::Script::new(&script);
        let mut call = script.key(key);
        call.arg(format!("t{id}")).invoke_async::<i64>(&mut connection).await.unwrap();
    }
}

/// A word as the server has it: `AT:7:id` is an entry, `HELD:key:rank:place:id` one in held, `PERMIT:key:r:id` a permit, and `~` stands for a
/// space.
fn bytes(word: &str) -> Vec<u8> {
    let sorting = |number: &str| (number.parse::<i64>().unwrap().cast_unsigned() ^ (1 << 63)).to_be_bytes();
    match word.split(':').collect::<Vec<_>>()[..] {
        ["AT", sequence, id] => [&sequence.parse::<u64>().unwrap().to_be_bytes(), id.as_bytes()].concat(),
        ["HELD", key, rank, place, id] => {
            [key.as_bytes(), b"\0", &sorting(rank), &sorting(place), id.as_bytes()].concat()
        }
        ["PERMIT", key, what, id] => [key.as_bytes(), b"\0", what.as_bytes(), id.as_bytes()].concat(),
        _ => word.replace('~', " ").into_bytes(),
    }
}

#[async_trait]
impl Store for Redis<'_> {
    async fn session(&self) -> Arc<dyn Broker> {
        let url = format!("{}?namespace={}", self.server.server.url(), self.namespace);
        connect(&url.parse().unwrap()).await.unwrap()
    }

    fn advance(&self, by: Duration) {
        let mut moved = self.server.moved.lock().unwrap();
        *moved += by;
        self.server.server.set_clock(*moved).unwrap();
    }
}

const NOWHERE: &str = "it is nowhere: neither ready, due, held nor dead";
const ALONE: &str = "whether it runs alone is not what its place and the deaths of its holders say";

const PLACES: &[Damage<'static>] = &[
    damage("LREM KEY:ready 0 AT:7:tnew", &[("new", NOWHERE)]),
    damage("ZREM KEY:returned AT:6:tback", &[("back", NOWHERE)]),
    damage("ZREM KEY:alone AT:1:talone", &[("alone", NOWHERE)]),
    damage("ZREM KEY:due AT:3:tlater", &[("later", NOWHERE)]),
    damage("ZREM KEY:lease tleased", &[("leased", NOWHERE)]),
    damage("DEL KEY:ready", &[("new", NOWHERE), ("newer", NOWHERE), (UUID, NOWHERE)]),
    damage("RPUSH KEY:ready AT:6:tback", &[("back", "it is in returned and ready")]),
    damage("RPUSH KEY:ready AT:2:tleased", &[("leased", "it is in lease and ready")]),
    damage("ZADD KEY:due 5 AT:2:tleased", &[("leased", "it is in lease and due")]),
    damage("ZADD KEY:dead 1 tlater", &[("later", "it is in due and dead")]),
    damage("RPUSH KEY:ready AT:7:tnew AT:7:tnew", &[("new", "it is in ready more than once")]),
    damage("RPUSH KEY:ready AT:5:tother", &[("other", "it is in ready, but is no task")]),
    damage("ZADD KEY:lease 5 tother", &[("other", "it is in lease, but is no task")]),
    damage(
        "ZADD KEY:due 5 AT:5:tother; ZADD KEY:returned 5 AT:5:tother",
        &[("other", "it is in returned and due, but is no task")],
    ),
    damage("HSET KEY:state tother x", &[("other", "it has a state, but is no task")]),
    damage(
        "ZREM KEY:returned AT:6:tback; ZADD KEY:returned 5 AT:5:tback",
        &[("back", "it stands at another sequence than its own")],
    ),
    damage(
        "ZREM KEY:alone AT:1:talone; ZADD KEY:returned 1 AT:1:talone",
        &[("alone", "it is in returned, but after 2 deaths of its holders it belongs in alone")],
    ),
    damage("ZADD KEY:lease 99999999999999 tleased", &[("leased", "its lease ends later than any can")]),
    damage("ZADD KEY:returned 99 AT:6:tback", &[("back", "it stands at another place than its order says")]),
    damage(
        "ZADD KEY:expiring 99999999999999 tnew",
        &[("new", "it expires, but was claimed, or was never to expire")],
    ),
    damage("ZADD KEY:expiring 5 tother", &[("other", "it expires, but is no task")]),
    damage("ZADD KEY:remembered 99999999999999 tnew", &[("new", "it is remembered as settled, but is not")]),
];

const STATES: &[Damage<'static>] = &[
    damage("HSET KEY:state tback nonsense", &[("back", "its state cannot be read")]),
    damage("HSET KEY:state tleased nonsense", &[("leased", "its state cannot be read")]),
    damage("HDEL KEY:state tback", &[("back", "it is in returned, but has no state")]),
    damage("HDEL KEY:state tleased", &[("leased", "it is in lease, but has no state")]),
];

/// What is kept of tasks that ended.
const KEPT: &[Damage<'static>] = &[
    damage(
        "HSET KEY:unique k tnew",
        &[("new", "it holds the unique key k, but is gone, dead, or has another")],
    ),
    damage(
        "HSET KEY:unique k tother",
        &[("other", "it holds the unique key k, but is gone, dead, or has another")],
    ),
    damage("ZADD KEY:seen 5 k", &[("", "the unique key k is seen, but nobody had it")]),
    damage(
        "HSET KEY:results tnew \u{1}C; ZADD KEY:until 99999999999999 tnew",
        &[("new", "it has a result, but is not settled")],
    ),
    damage("HSET KEY:results tother \u{1}C", &[("other", "its result is kept until no time")]),
    damage(
        "HSET KEY:results tother x; ZADD KEY:until 99999999999999 tother",
        &[("other", "its result cannot be read")],
    ),
    damage(
        "ZADD KEY:until 99999999999999 tother",
        &[("other", "it has no result, but a time to forget one")],
    ),
    damage(
        "HSET KEY:gone tother 2:7; HSET KEY:info ghosts 2",
        &[("other", "2 of its entries in ready are of no meaning, but 0 are there")],
    ),
];

const KEYS: &[Damage<'static>] = &[
    damage("DEL KEY:info", &[("", "its options and counters are missing")]),
    damage(
        "HDEL KEY:info added deaths",
        &[("", "added is out of bounds or missing"), ("", "deaths is out of bounds or missing")],
    ),
    damage("HSET KEY:info order x", &[("", "its order is none")]),
    damage("HSET KEY:info paused x", &[("", "whether it is paused cannot be read")]),
    damage("HSET KEY:info ghosts 3", &[("", "the counter ghosts is 3, but there are 0")]),
    damage("HDEL KEY:info died", &[("", "when the first of its dead died is missing")]),
    damage("HDEL KEY:info forget", &[("", "when to forget is missing")]),
    damage("HDEL KEY:info capacity", &[("", "capacity is out of bounds or missing")]),
    damage("HSET KEY:info remember_ids x", &[("", "remember_ids is out of bounds or missing")]),
    damage("HSET KEY:info added 1", &[("", "the counter added is below what was given")]),
    damage("HSET KEY:info deaths 0", &[("", "the counter deaths is below what was given in dead")]),
    damage("EXPIRE KEY:body 1000", &[("", "the key body expires, and what is in it with it")]),
    damage("EXPIRE KEY:ready 1000", &[("", "the key ready expires, and what is in it with it")]),
];

const UNREADABLE: &[Damage<'static>] = &[
    Damage {
        done: "HSET KEY:body tnew nonsense",
        found: &[("new", "its body cannot be read")],
        dead: &["new"],
    },
    Damage {
        done: "HSET KEY:body tleased nonsense",
        found: &[("leased", "its body cannot be read")],
        dead: &["leased"],
    },
];

pub(crate) async fn each(damages: &[Damage<'_>]) {
    let server = Server::start();
    for damage in damages {
        let store = server.namespace();
        let (broker, leased) = fill(&store).await;
        assert_eq!(found(&fsck(&*broker, false).await), [], "before");
        store.say(damage.done).await;
        named_and_mended(&store, &*broker, &leased, damage).await;
    }
}

#[tokio::test]
async fn ids_in_the_wrong_places_are_named_and_mended() {
    each(PLACES).await;
}

#[tokio::test]
async fn damaged_states_are_named_and_mended() {
    each(STATES).await;
}

#[tokio::test]
async fn what_is_kept_is_named_and_mended() {
    each(KEPT).await;
}

#[tokio::test]
async fn damaged_keys_are_named_and_mended() {
    each(KEYS).await;
}

#[tokio::test]
async fn what_cannot_be_read_is_buried() {
    each(UNREADABLE).await;
}

/// States that can be read and are none.
#[tokio::test]
async fn impossible_states_are_named_and_mended() {
    let server = Server::start();
    for (id, change) in [("leased", "p.holder = 'x'"), ("leased", "p.epoch = 0")] {
        changed(&server, id, change, "it is leased, but nobody can hold it").await;
    }
    for id in ["leased", "back"] {
        changed(&server, id, "p.alone = true", ALONE).await;
    }
    let row = "it is due later, and has a row of deaths that no crash explains";
    for change in ["p.deaths = 1", "p.deaths = 3"] {
        changed(&server, "later", change, row).await;
    }
    changed(&server, "back", "p.cancelled = true", "it is to be cancelled, but nobody holds it").await;
    changed(&server, "back", "p.died = 5", "it is not dead, but has a time of its death").await;
    changed(&server, "dead", "p.died = nil", "it is dead, but not since any time").await;
    changed(&server, "back", "p.reported = '7'", "it tells how far it is, but nobody holds it").await;
    for change in ["p.attempts = -1", "p.history = { 'x' }"] {
        changed(&server, "back", change, "its state cannot be read").await;
    }
}

async fn changed(server: &Server, id: &'static str, change: &'static str, wrong: &'static str) {
    let store = server.namespace();
    let (broker, leased) = fill(&store).await;
    store.change(id, change).await;
    let found = [(id, wrong)];
    named_and_mended(&store, &*broker, &leased, &Damage { done: change, found: &found, dead: &[] }).await;
}

/// A lost state takes its epoch with it: the next is higher than any that may have been given.
#[tokio::test]
async fn a_lost_epoch_is_not_given_again() {
    let server = Server::start();
    let store = server.namespace();
    let (broker, leased) = fill(&store).await;
    store.say("HDEL KEY:state tleased").await;
    fsck(&*broker, true).await;
    let tasks = broker.claim(&Claim::new(queue(), 9).with_idle(false)).await.unwrap().tasks;
    let again = tasks.iter().find(|task| task.lease.id == leased.lease.id).unwrap();
    assert!(again.lease.epoch >= leased.lease.epoch + (1 << 20), "{again:?} after {leased:?}");
    assert_eq!(settle(&*broker, &leased, complete()).await, Settled::Lost);
}

/// A key that is somebody else's is told, and left to its owner.
#[tokio::test]
async fn a_foreign_key_is_told_and_left() {
    let server = Server::start();
    let store = server.namespace();
    let (broker, _) = fill(&store).await;
    store.say("DEL KEY:due; SET KEY:due mine").await;
    for repair in [false, true] {
        let report = fsck(&*broker, repair).await;
        let wrong = "the key due is a string: remove or rename it";
        assert_eq!(found(&report), [("q".to_owned(), String::new(), wrong.to_owned())]);
        assert_eq!(report.unrepaired(), 1);
    }
}

/// More tasks than one step looks at, of which every tenth is lost, and more dead than are kept.
#[tokio::test]
async fn many_are_mended_in_many_steps() {
    let server = Server::start();
    let store = server.namespace();
    let broker = store.session().await;
    let (mut lost, mut entries) = (BTreeSet::new(), Vec::new());
    for round in 0..12 {
        let ids: Vec<String> = (0..250).map(|number| format!("{round}-{number}")).collect();
        enqueue(&*broker, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let numbered = (round * 250 + 1..).zip(&ids).step_by(10);
        entries.extend(numbered.map(|(sequence, id)| format!("AT:{sequence}:t{id}")));
        lost.extend(ids.into_iter().step_by(10));
    }
    let lines: Vec<String> = entries.iter().map(|id| format!("LREM KEY:ready 0 {id}")).collect();
    store.say(&lines.join("; ")).await;
    let look = fsck(&*broker, false).await;
    assert_eq!((look.queues, look.tasks), (1, 3000));
    assert_eq!(found(&look).into_iter().map(|(_, id, _)| id).collect::<BTreeSet<_>>(), lost);
    assert_eq!(fsck(&*broker, true).await.findings.len(), lost.len());
    assert_eq!(found(&fsck(&*broker, false).await), []);
    assert_eq!(broker.status(&queue()).await.unwrap().unwrap().ready, 3000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_clean_while_others_work() {
    let server = Server::start();
    clean_while_others_work(&server.namespace()).await;
}

/// What was enqueued last has the sequences 7 to 10.
const DISORDERS: &[Disorder] = &[
    (Order::Lifo, "LREM KEY:ready 0 AT:7:tnew", "new", NOWHERE),
    (
        Order::Lifo,
        "ZADD KEY:returned 1 AT:1:tfirst",
        "first",
        "it stands at another place than its order says",
    ),
    (Order::Lifo, "RPUSH KEY:ready AT:7:tnew", "new", "it is in ready more than once"),
    (
        Order::Priority,
        "ZADD KEY:ready 77 AT:1:tfirst",
        "first",
        "it stands at another place than its order says",
    ),
    (Order::Priority, "ZREM KEY:ready AT:7:tnew", "new", NOWHERE),
    (
        Order::Priority,
        "ZREM KEY:ready AT:7:tnew; ZADD KEY:ready 0 AT:2:tnew",
        "new",
        "it stands at another sequence than its own",
    ),
    (Order::Fifo, "ZREM KEY:expiring tnew", "new", "it is to expire, but at no time"),
    (Order::Fifo, "HDEL KEY:unique key-new", "new", "its unique key key-new is not its own"),
    (Order::Fifo, "HDEL KEY:unique key-third", "third", "its unique key key-third is not its own"),
    (Order::Fifo, "HSET KEY:unique key-fourth tfourth; ZREM KEY:seen key-fourth", "fourth", HOLDS),
    (
        Order::Fifo,
        "ZADD KEY:seen 99999999999999 key-new",
        "new",
        "its unique key is seen, as if it had ended",
    ),
];

const HOLDS: &str = "it holds the unique key key-fourth, but is gone, dead, or has another";

#[tokio::test]
async fn disorders_are_named_and_mended() {
    let server = Server::start();
    for (order, done, id, wrong) in DISORDERS {
        let store = server.namespace();
        each_disorder(&store, *order, id, wrong, async || store.say(done).await).await;
    }
}

/// What was cancelled in the middle of a list left an entry of no meaning, which is counted.
#[tokio::test]
async fn entries_of_no_meaning_are_counted_again() {
    let server = Server::start();
    for (done, wrong) in [
        (
            "HSET KEY:gone tgone 3:10; HSET KEY:info ghosts 3",
            "3 of its entries in ready are of no meaning, but 1 are there",
        ),
        ("DEL KEY:gone; HDEL KEY:info ghosts", "it is in ready, but is no task"),
    ] {
        let store = server.namespace();
        each_disorder(&store, Order::Fifo, "gone", wrong, async || store.say(done).await).await;
    }
}

#[tokio::test]
async fn it_is_clean_in_every_order() {
    let server = Server::start();
    for order in ORDERS {
        clean_in_order(&server.namespace(), order).await;
    }
}
