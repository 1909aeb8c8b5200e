//! What a server does that does not take calls for a while, or not from everybody: sessions say so, and go on when it does.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
};

use manyhands_broker::{Error, Result};

use super::*;

impl Server {
    fn with(settings: &[(&str, &str)]) -> Self {
        let options =
            settings.iter().fold(Redis::options(), |options, (name, value)| options.with(name, value));
        Self(options.start().unwrap())
    }

    /// Takes a place among the server's clients.
    fn client(&self) -> TcpStream {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.0.port())).unwrap();
        tell(&mut stream, "PING");
        stream
    }

    async fn info(&self, field: &str) -> String {
        let text = match self.say(&["INFO", "everything"]).await {
            redis::Value::BulkString(bytes) => String::from_utf8(bytes).unwrap(),
            redis::Value::VerbatimString { text, .. } => text,
            other => panic!("INFO is answered {other:?}"),
        };
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_default().to_owned()
    }

    /// A URL with a user.
    fn url_of(&self, user: &str) -> String {
        format!("redis://{user}@127.0.0.1:{}", self.0.port())
    }
}

/// Lets the server cut a session off, and waits until the session knows.
async fn cut_off(broker: &dyn Broker, operator: &mut TcpStream) {
    let hint = broker.wait(&[queue()]);
    tell(operator, "CLIENT KILL TYPE pubsub");
    tokio::time::timeout(Duration::from_secs(20), hint).await.expect("the loss is told to those who wait");
}

/// Says something, and waits for an answer.
fn tell(stream: &mut TcpStream, command: &str) {
    stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    stream.read_exact(&mut [0; 5]).unwrap();
}

async fn open(url: &str) -> Result<Arc<dyn Broker>> {
    connect(&url.parse().unwrap()).await
}

/// Checks that something is a refusal that can pass, says this, and says what to do.
fn refused<T>(answer: Result<T>, part: &str) -> Error {
    let Err(error) = answer else { panic!("it is not refused") };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
    assert!(error.report().contains(part) && error.advice().is_some(), "{}", error.report());
    error
}

/// As a failover leaves it for those that are connected to the old primary.
#[tokio::test]
async fn a_server_that_became_a_replica_is_left_until_there_is_a_primary() {
    let server = Server::start();
    let broker = server.session().await;
    enqueue(&*broker, &[task(9)]).await;
    server.say(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let before: u64 = server.info("total_connections_received").await.parse().unwrap();
    for _ in 0..5 {
        refused(broker.claim(&Claim::new(queue(), 1)).await, "replica");
        refused(broker.enqueue(&[task(9)], None).await, "replica");
    }
    let after: u64 = server.info("total_connections_received").await.parse().unwrap();
    // The first call found out on the old connection, and asking is a connection too.
    assert!(
        (9..=11).contains(&(after - before)),
        "each call looks for the primary once: {before} to {after}"
    );
    refused(open(&server.0.url()).await, "replica");
    server.say(&["REPLICAOF", "NO", "ONE"]).await;
    assert_eq!(broker.claim(&Claim::new(queue(), 1)).await.unwrap().tasks.len(), 1);
}

/// A call waits for a while; one that comes too early says what the server does.
#[tokio::test]
async fn a_server_that_reads_its_data_is_waited_for() {
    // While it reads, it looks after its clients once in 2 MiB.
    let server = Server::with(&[("enable-debug-command", "yes"), ("rdbcompression", "no")]);
    let broker = server.session().await;
    enqueue(&*broker, &[task(9)]).await;
    server.say(&["DEBUG", "POPULATE", "500", "other", "200000"]).await;
    server.say(&["CONFIG", "SET", "key-load-delay", "18000"]).await;
    let mut operator = server.client();
    operator.write_all(b"DEBUG RELOAD\r\n").unwrap();
    while server.info("loading").await != "1" {
        tokio::task::yield_now().await;
    }
    refused(broker.status(&queue()).await, "reads its data");
    refused(open(&server.0.url()).await, "reads its data");
    let status = loop {
        match broker.status(&queue()).await {
            Ok(status) => break status,
            early => drop(refused(early, "reads its data")),
        }
    };
    assert_eq!(status.unwrap().ready, 1);
}

#[tokio::test]
async fn a_full_table_of_clients_is_named_and_waited_for() {
    let server = Server::with(&[("maxclients", "3")]);
    let broker = server.session().await;
    enqueue(&*broker, &[task(9)]).await;
    let (mut first, second) = (server.client(), server.client());
    refused(open(&server.0.url()).await, "as many clients as it takes");
    cut_off(&*broker, &mut first).await;
    let third = server.client();
    for _ in 0..3 {
        refused(broker.status(&queue()).await, "as many clients as it takes");
    }
    tell(&mut first, "CONFIG SET maxclients 9");
    assert_eq!(broker.status(&queue()).await.unwrap().unwrap().ready, 1);
    drop((first, second, third));
}

#[tokio::test]
async fn a_password_that_is_wrong_is_said_and_not_shown() {
    let server = Server::with(&[]);
    let broker = server.session().await;
    enqueue(&*broker, &[task(9)]).await;
    let mut operator = server.client();
    tell(&mut operator, "CONFIG SET requirepass sesame");
    cut_off(&*broker, &mut operator).await;
    refused(broker.status(&queue()).await, "wants a password");
    for user in [":mustard", "nobody:mustard"] {
        let error = refused(open(&server.url_of(user)).await, "the password is wrong");
        let shown = format!("{} {:?} {:?}", error.report(), error.advice(), error);
        assert!(!shown.contains("mustard"), "{shown}");
    }
    let with = open(&server.url_of(":sesame")).await.unwrap();
    assert_eq!(with.status(&queue()).await.unwrap().unwrap().ready, 1);
    tell(&mut operator, "AUTH sesame");
    tell(&mut operator, "CONFIG SET requirepass \"\"");
    assert_eq!(broker.status(&queue()).await.unwrap().unwrap().ready, 1, "the session that was there before");
}

/// The rights that the advice names are enough for everything, and with fewer it is said.
#[tokio::test]
async fn a_user_needs_the_rights_that_are_advised() {
    let server = Server::with(&[]);
    let rights = ["~mh:*", "resetchannels", "&mh:*", "+@all", "-@dangerous", "+info"];
    server.say(&[&["ACL", "SETUSER", "queues", "on", ">p@ss:word"], rights.as_slice()].concat()).await;
    let url = server.url_of("queues:p%40ss%3Aword");
    let broker = open(&url).await.unwrap();
    let tasks = [task(9), task(9)];
    enqueue(&*broker, &tasks).await;
    let mut claimed = broker.claim(&Claim::new(queue(), 2)).await.unwrap().tasks;
    let ends = [End::complete(vec![task(9)]), End::Bury { error: "no".to_owned() }];
    let ends: Vec<_> = ends.into_iter().map(|end| Settlement::new(claimed.remove(0).lease, end)).collect();
    assert_eq!(broker.settle(&ends).await.unwrap(), [Settled::Settled; 2]);
    assert_eq!(broker.queues(None, 9).await.unwrap(), [queue()]);
    assert_eq!(broker.dead_letters().unwrap().list(&queue(), None, 9).await.unwrap().len(), 1);
    assert!(broker.fsck().unwrap().fsck(true).await.unwrap().is_clean());
    for (right, part) in
        [("resetchannels", "does not allow"), ("-@scripting", "does not allow"), ("off", "the user is off")]
    {
        server.say(&["ACL", "SETUSER", "queues", right]).await;
        let error = refused(open(&url).await, part);
        let advice = error.advice().unwrap();
        if part == "does not allow" {
            assert!(rights.iter().all(|right| advice.contains(right)), "{advice}");
        }
    }
}

/// The outcome of a call without an answer is unknown, and the same call again finds out.
#[tokio::test]
async fn a_server_that_is_silent_is_left_and_the_same_call_again_doubles_nothing() {
    let server = Server::with(&[]);
    let broker = server.session().await;
    let (tasks, token) = ([task(9), task(9)], Token::next(broker.incarnation()));
    enqueue(&*broker, &[task(9)]).await;
    server.0.suspend().unwrap();
    refused(broker.enqueue(&tasks, Some(token)).await, "is unknown");
    refused(broker.status(&queue()).await, "did not answer in time");
    server.0.resume().unwrap();
    assert_eq!(broker.enqueue(&tasks, Some(token)).await.unwrap(), vec![Enqueued::Enqueued; 2]);
    assert_eq!(
        broker.status(&queue()).await.unwrap().unwrap().ready,
        3,
        "no matter whether the first one was heard"
    );
}

#[tokio::test]
async fn a_session_can_be_opened_with_a_server_without_memory() {
    let server = Server::start();
    let broker = server.session().await;
    enqueue(&*broker, &[task(9)]).await;
    let claimed = broker.claim(&Claim::new(queue(), 1)).await.unwrap().tasks.remove(0);
    // As after a failover: the session has to write that.
    server.say(&["HSET", "mh:{mh}", "server", "another"]).await;
    server.say(&["CONFIG", "SET", "maxmemory", "1"]).await;
    server.cut().await;
    let settlement = [Settlement::new(claimed.lease, End::complete(Vec::new()))];
    let settled = match broker.settle(&settlement).await {
        // It was cut in the middle of this one.
        Err(error) if error.kind() == ErrorKind::Unavailable => broker.settle(&settlement).await,
        settled => settled,
    };
    assert_eq!(settled.unwrap(), [Settled::Settled]);
    let other = open(&format!("{}?namespace=other", server.0.url())).await.unwrap();
    assert_eq!(other.status(&queue()).await.unwrap(), None);
    assert_eq!(other.enqueue(&[task(9)], None).await.unwrap_err().kind(), ErrorKind::Full);
}

#[tokio::test]
async fn a_server_that_cannot_save_says_so() {
    let server = Server::with(&[("enable-protected-configs", "yes")]);
    server.say(&["CONFIG", "SET", "save", "3600 1"]).await;
    let broker = server.session().await;
    enqueue(&*broker, &[task(9)]).await;
    server.say(&["CONFIG", "SET", "dir", "/proc"]).await;
    server.say(&["BGSAVE"]).await;
    while server.info("rdb_last_bgsave_status").await != "err" {
        tokio::task::yield_now().await;
    }
    refused(broker.enqueue(&[task(9)], None).await, "cannot save");
    server.say(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]).await;
    enqueue(&*broker, &[task(9)]).await;
}

/// What the watchdog of a worker does to a session whose answers it does not believe.
#[tokio::test]
async fn a_session_that_is_rebuilt_on_demand_goes_on() {
    let server = Server::start();
    let broker = server.session().await;
    enqueue(&*broker, &[task(9)]).await;
    let lease = broker.claim(&Claim::new(queue(), 1)).await.unwrap().tasks.remove(0).lease;
    let before: u64 = server.info("total_connections_received").await.parse().unwrap();
    let hint = broker.wait(&[queue()]);
    broker.rebuild().await;
    tokio::time::timeout(Duration::from_secs(20), hint).await.expect("whoever waits looks again");
    let settlement = [Settlement::new(lease, End::complete(Vec::new()))];
    assert_eq!(broker.settle(&settlement).await.unwrap(), [Settled::Settled], "the lease is still its own");
    let after: u64 = server.info("total_connections_received").await.parse().unwrap();
    assert_eq!(after - before, 2, "its new connection, and the one that asks");
}
