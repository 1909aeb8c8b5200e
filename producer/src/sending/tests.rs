//! What is sent, and what comes back.

use std::sync::Arc;

use manyhands_broker::{
    Broker, Claim, End, Guard, Order, QueueOptions, Settlement, Task,
    backends::memory::{
        MemoryBroker,
        adversary::{Adversary, Call, Fault, Manners},
    },
};
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Serialize, Deserialize)]
struct Work(u32);

impl Task for Work {
    const NAME: &'static str = "work";
    type Output = ();
}

#[tokio::test(flavor = "current_thread")]
async fn refusals_name_the_queue() {
    let client = Client::connect(&"memory:".parse().unwrap()).await.unwrap();
    let q = QueueName::new("q").unwrap();
    client.broker().declare(&q, Some(&QueueOptions::default().with_capacity(1))).await.unwrap();
    assert_eq!(client.send(Work(1)).queue("q").id("a").await.unwrap().to_string(), "a");
    assert_eq!(client.send(Work(1)).queue("q").id("a").await.unwrap().to_string(), "a");
    let full = client.send(Work(2)).queue("q").await.unwrap_err();
    assert_eq!(
        (full.kind(), full.to_string().as_str()),
        (ErrorKind::Full, "queue \"q\" is full (1 of 1 tasks)")
    );
    client.close(&q).await.unwrap();
    let closed = client.send(Work(3)).queue("q").await.unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Closed);
    assert_eq!(client.send(Work(4)).queue("no such name").await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(client.send(Work(5)).id("").await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[derive(Serialize, Deserialize)]
struct Double(u32);

impl Task for Double {
    const NAME: &'static str = "double";
    type Output = u32;
}

const SOON: Duration = Duration::from_secs(20);

/// Ends the next task of the default queue as soon as there is one.
async fn end_one(broker: &dyn Broker, end: End) {
    let queue = QueueName::new("default").unwrap();
    loop {
        let changed = broker.wait(std::slice::from_ref(&queue));
        let claim = Claim::new(queue.clone(), 1);
        if let Some(task) = broker.claim(&claim).await.unwrap().tasks.pop() {
            assert!(task.result_wanted);
            broker.settle(&[Settlement::new(task.lease, end)]).await.unwrap();
            return;
        }
        changed.await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_result_comes_back_as_its_type() {
    let client = Client::connect(&"memory:".parse().unwrap()).await.unwrap();
    let done = End::Complete { children: Vec::new(), result: Some(Payload::encode(&42).unwrap()) };
    let (result, ()) = tokio::join!(client.send(Double(21)).wait(SOON), end_one(&**client.broker(), done));
    assert_eq!(result.unwrap(), 42);
    let wrong = End::Complete { children: Vec::new(), result: Some(Payload::encode("x").unwrap()) };
    let (result, ()) = tokio::join!(client.send(Double(21)).wait(SOON), end_one(&**client.broker(), wrong));
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Invalid, "not what the type says");
}

#[tokio::test(flavor = "current_thread")]
async fn other_ends_are_errors() {
    let client = Client::connect(&"memory:".parse().unwrap()).await.unwrap();
    let dead = End::Bury { error: "it is odd".to_owned() };
    let (result, ()) =
        tokio::join!(client.send(Double(1)).id("odd").wait(SOON), end_one(&**client.broker(), dead));
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert_eq!(error.to_string(), "task odd of queue \"default\" is dead: it is odd");
    let late = client.send(Double(2)).id("late").wait(Duration::from_millis(5)).await.unwrap_err();
    assert_eq!((late.kind(), late.to_string().contains("task late")), (ErrorKind::Timeout, true));
    let queue = QueueName::new("default").unwrap();
    client.broker().cancel(&queue, &[TaskId::new("late").unwrap()]).await.unwrap();
    let cancelled = client.result(&queue, &TaskId::new("late").unwrap(), SOON).await.unwrap_err();
    assert_eq!(cancelled.to_string(), "task late of queue \"default\" was cancelled");
    let unknown = client.result(&queue, &TaskId::new("never").unwrap(), SOON).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Failed);
}

#[tokio::test(flavor = "current_thread")]
async fn a_call_without_an_answer_is_made_again_and_nothing_doubled() {
    let memory = MemoryBroker::new();
    let adversary = Adversary::session_of(&memory, Manners::QUIET, 1);
    let client = Client::new(Arc::new(Guard::new(adversary.clone())));
    let queue = QueueName::new("default").unwrap();
    let ready = async || memory.status(&queue).await.unwrap().unwrap().ready;
    for fault in [Fault::Unanswered, Fault::Refused, Fault::Unanswered] {
        adversary.fail_next(Call::Enqueue, fault);
    }
    client.send(Work(1)).await.unwrap();
    assert_eq!(ready().await, 1, "done twice without an answer, and refused once");
    adversary.fail_next(Call::Enqueue, Fault::Unanswered);
    client.send(Work(2)).wait_for_room(SOON).await.unwrap();
    assert_eq!(ready().await, 2);
    adversary.fail_next(Call::Enqueue, Fault::Unanswered);
    let tasks = [NewTask::of(&Work(3)).unwrap(), NewTask::of(&Work(4)).unwrap()];
    assert_eq!(client.send_all(&tasks).await.unwrap(), [Enqueued::Enqueued, Enqueued::Enqueued]);
    assert_eq!(ready().await, 4);
    let impatient = client.clone().with_patience(Duration::ZERO);
    adversary.fail_next(Call::Enqueue, Fault::Refused);
    assert_eq!(impatient.send(Work(5)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    adversary.fail_next(Call::Enqueue, Fault::Refused);
    let waiting = impatient.send(Work(6)).wait_for_room(SOON).await;
    assert_eq!(waiting.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(ready().await, 4);
}

#[tokio::test(flavor = "current_thread")]
async fn what_belongs_together_is_waited_for() {
    let client = Client::connect(&"memory:".parse().unwrap()).await.unwrap();
    let (queue, batch) = (QueueName::new("default").unwrap(), BatchName::new("b").unwrap());
    let options = QueueOptions::default().with_key_limit(1);
    client.broker().declare(&queue, Some(&options)).await.unwrap();
    client.send(Double(1)).batch("b").unique_in_batch("one").key("k").keep_result(SOON).await.unwrap();
    let again = client.send(Double(1)).batch("b").unique_in_batch("one").await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Duplicate);
    client.send(Double(2)).batch("b").key("k").keep_result(SOON).await.unwrap();
    let status = client.broker().status(&queue).await.unwrap().unwrap();
    assert_eq!((status.ready, status.held), (1, 1));
    let end = || End::complete(Vec::new());
    let both = async {
        end_one(&**client.broker(), end()).await;
        end_one(&**client.broker(), end()).await;
    };
    let (ended, ()) = tokio::join!(client.join_batch(&batch, SOON), both);
    assert_eq!(ended.unwrap().map(|status| (status.unsettled, status.done)), Some((0, 2)));
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_asked_for_is_sent() {
    let client = Client::connect(&"memory:".parse().unwrap()).await.unwrap();
    let queue = QueueName::new("default").unwrap();
    let options = QueueOptions::default().with_order(Order::Priority).with_capacity(3);
    client.broker().declare(&queue, Some(&options)).await.unwrap();
    client.send(Work(1)).priority(5).unique("k").expires(SOON).await.unwrap();
    client.send(Work(2)).priority(-5).unique_for("l", SOON).await.unwrap();
    client.send(Work(3)).at(SystemTime::now() + SOON).keep_result(SOON).await.unwrap();
    let duplicate = client.send(Work(4)).unique("k").await.unwrap_err();
    assert_eq!(duplicate.kind(), ErrorKind::Duplicate);
    assert_eq!(client.send(Work(5)).unique("").await.unwrap_err().kind(), ErrorKind::Invalid);
    let full = client.send(Work(6)).delay(SOON).wait_for_room(Duration::from_millis(5)).await.unwrap_err();
    assert_eq!((full.kind(), full.to_string().contains("still full")), (ErrorKind::Timeout, true));
    let claimed = client.broker().claim(&Claim::new(queue.clone(), 9)).await.unwrap().tasks;
    let payloads: Vec<_> = claimed.iter().map(|task| task.payload.as_str()).collect();
    assert_eq!(payloads, ["2", "1"]);
    assert_eq!(client.broker().status(&queue).await.unwrap().unwrap().scheduled, 1);
    let end = Settlement::new(claimed[0].lease.clone(), End::complete(Vec::new()));
    let settlements = [end];
    let (room, settled) = tokio::join!(
        client.send(Work(7)).wait_for_room(SOON).into_future(),
        client.broker().settle(&settlements),
    );
    assert_eq!((room.is_ok(), settled.is_ok()), (true, true));
}
