//! Stored tasks that this version cannot read.

use manyhands_broker::DeadTask;

use super::*;

/// Puts these tasks on the queue and other bytes in the place of one's body.
async fn enqueue_and_damage(server: &Server, broker: &dyn Broker, ids: &[&str], damaged: &str, body: &[u8]) {
    let named = |id: &&str| task(9).with_id(TaskId::new(id).unwrap());
    enqueue(broker, &ids.iter().map(named).collect::<Vec<_>>()).await;
    server.write("HSET", "mh:{mh}:body:q", &format!("t{damaged}"), body).await;
}

async fn claimed(broker: &dyn Broker) -> Vec<String> {
    let tasks = broker.claim(&Claim::new(queue(), 9)).await.unwrap().tasks;
    tasks.iter().map(|task| task.lease.id.to_string()).collect()
}

async fn dead(broker: &dyn Broker) -> Vec<DeadTask> {
    broker.dead_letters().unwrap().list(&queue(), None, 9).await.unwrap()
}

/// One task that nobody can read stopped every claim of its queue, again and again.
#[tokio::test]
async fn what_cannot_be_decoded_is_buried_with_its_bytes_and_the_others_go_on() {
    let header = br#"{"name":"work","given":true,"max_attempts":5,"max_crashes":3}"#;
    let with = |payload: &[u8]| [b"\x01", header.as_slice(), b"\n", payload].concat();
    let cases: [(&[u8], &str); 8] = [
        (b"nonsense", "nonsense"),
        (b"\xff\xfe", "\u{fffd}\u{fffd}"),
        (b"\x00old", "\0old"),
        (b"\x01no header", "\u{1}no header"),
        (b"\x01{no json\n7", "\u{1}{no json\n7"),
        (b"\x01{\"name\":7}\n7", "\u{1}{\"name\":7}\n7"),
        (
            b"\x01{\"name\":\"work\",\"given\":true,\"max_attempts\":-1,\"max_crashes\":3}\n7",
            "max_attempts\":-1",
        ),
        (&with(b"\"\xff\""), "\"\u{fffd}\""),
    ];
    let server = Server::start();
    for (body, shown) in cases {
        server.say(&["FLUSHALL"]).await;
        let broker = server.session().await;
        enqueue_and_damage(&server, &*broker, &["1", "bad", "2"], "bad", body).await;
        assert_eq!(claimed(&*broker).await, ["1", "2"], "{shown:?}");
        let dead = dead(&*broker).await.remove(0);
        assert_eq!((dead.id.to_string(), dead.attempts, dead.crashes), ("bad".to_owned(), 0, 0));
        assert!(dead.error.starts_with("cannot be decoded: "), "{}", dead.error);
        assert_eq!(dead.history.len(), 1, "{dead:?}");
        let bytes: String = serde_json::from_str(dead.payload.as_str()).unwrap();
        assert!(bytes.contains(shown), "{bytes:?} has {shown:?}");
        let status = broker.status(&queue()).await.unwrap().unwrap();
        assert_eq!((status.ready, status.leased, status.dead), (0, 2, 1));
        // What an operator can do with any dead task.
        let power = broker.dead_letters().unwrap();
        assert_eq!(power.revive(&queue(), &[dead.id]).await.unwrap(), [Revived::Revived]);
        assert_eq!(claimed(&*broker).await, Vec::<String>::new());
        let id = TaskId::new("bad").unwrap();
        assert_eq!(power.purge(&queue(), &[id]).await.unwrap(), [true], "buried again");
        assert!(broker.fsck().unwrap().fsck(false).await.unwrap().is_clean());
    }
}

/// Its holder died before it could send the task away: the next claim takes it back and sends it away.
#[tokio::test]
async fn what_cannot_be_decoded_can_expire() {
    let server = Server::start();
    let broker = server.session().await;
    enqueue(&*broker, &[task(9).with_id(TaskId::new("bad").unwrap())]).await;
    assert_eq!(claimed(&*broker).await, ["bad"]);
    server.write("HSET", "mh:{mh}:body:q", "tbad", b"nonsense").await;
    server.0.set_clock(Duration::from_secs(31)).unwrap();
    assert_eq!(claimed(&*broker).await, Vec::<String>::new());
    assert_eq!(dead(&*broker).await.len(), 1);
}

/// A task that a newer version made is left to one.
#[tokio::test]
async fn what_is_newer_is_put_off_however_often() {
    let server = Server::start();
    let broker = server.session().await;
    // Whether it is in the batch that counts it, only the newer version can tell.
    let member = task(9).with_id(TaskId::new("newer").unwrap()).in_batch(BatchName::new("b").unwrap());
    enqueue(&*broker, &[member]).await;
    enqueue_and_damage(&server, &*broker, &["1", "2"], "newer", b"\x09what comes").await;
    let others = broker.claim(&Claim::new(queue(), 9)).await.unwrap().tasks;
    let done: Vec<_> =
        others.into_iter().map(|task| Settlement::new(task.lease, End::complete(Vec::new()))).collect();
    assert_eq!(broker.settle(&done).await.unwrap(), [Settled::Settled; 2]);
    for round in 1..100 {
        let status = broker.status(&queue()).await.unwrap().unwrap();
        assert_eq!((status.scheduled, status.dead), (1, 0), "round {round}");
        server.0.set_clock(Duration::from_secs(60 * round)).unwrap();
        assert_eq!(claimed(&*broker).await, Vec::<String>::new());
    }
    assert!(broker.fsck().unwrap().fsck(true).await.unwrap().is_clean(), "it is nobody's damage");
    assert_eq!(server.state("newer").await, "it needs a version that knows format 9; this one knows 3");
    // Somebody brought it into a form that this version knows, as the newer one would read it.
    let body =
        b"\x01{\"name\":\"work\",\"given\":true,\"max_attempts\":5,\"max_crashes\":3,\"batch\":\"b\"}\n7";
    server.write("HSET", "mh:{mh}:body:q", "tnewer", body).await;
    server.0.set_clock(Duration::from_secs(60 * 101)).unwrap();
    let tasks = broker.claim(&Claim::new(queue(), 9)).await.unwrap().tasks;
    let task = tasks.iter().find(|task| task.lease.id.to_string() == "newer").unwrap();
    assert_eq!((task.attempts, task.crashes, task.deaths), (0, 0, 0), "uncharged");
}
