//! Queues by priority: what lies where, and how sessions share what there is.

use manyhands_broker::{ClaimedTask, Order};

use super::*;

fn by_priority() -> QueueOptions {
    QueueOptions::default().with_order(Order::Priority)
}

fn ranked(priority: i64) -> NewTask {
    task("q").with_priority(priority)
}

async fn send(broker: &dyn Broker, priorities: &[i64]) {
    let tasks: Vec<_> = priorities.iter().map(|priority| ranked(*priority)).collect();
    assert_eq!(broker.enqueue(&tasks, None).await.unwrap(), vec![Enqueued::Enqueued; tasks.len()]);
}

async fn claim_most(broker: &dyn Broker, max: usize) -> Vec<ClaimedTask> {
    broker.claim(&Claim::new(queue("q"), max)).await.unwrap().tasks
}

async fn complete(broker: &dyn Broker, tasks: Vec<ClaimedTask>) {
    let ends: Vec<_> =
        tasks.into_iter().map(|task| Settlement::new(task.lease, End::complete(Vec::new()))).collect();
    assert_eq!(settle(broker, &ends).await, Ok(vec![Settled::Settled; ends.len()]));
}

const WORK: [&str; 4] = ["work:q", "work-1:q", "work-2:q", "work-3:q"];

impl Scene {
    /// How many messages wait for each priority.
    async fn waiting(&self) -> [u32; 4] {
        let mut counts = [0; 4];
        for (count, name) in counts.iter_mut().zip(WORK) {
            *count = self.count(name).await;
        }
        counts
    }

    async fn consumers(&self, queue: &str) -> u32 {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = self.behind.queue_declare(self.name(queue).into(), passive, FieldTable::default());
        found.await.unwrap().consumer_count()
    }

    /// What is in the register, which is put back.
    async fn directory(&self) -> String {
        let get = self.behind.basic_get(self.name("directory").into(), BasicGetOptions::default());
        let message = get.await.unwrap().unwrap();
        let requeue = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        self.behind.basic_nack(message.delivery.delivery_tag, requeue).await.unwrap();
        String::from_utf8(message.delivery.data.clone()).unwrap()
    }
}

#[tokio::test]
async fn each_priority_has_a_queue_and_they_share_the_lines() {
    let scene = Scene::shared().await;
    let broker = scene.session().await;
    broker.declare(&queue("q"), Some(&by_priority())).await.unwrap();
    send(&*broker, &[3, 0, 1, 3, 2]).await;
    broker.enqueue(&[task("q")], None).await.unwrap();
    assert_eq!(scene.waiting().await, [2, 1, 1, 2]);
    let later = |priority| ranked(priority).with_start(Start::After(Duration::from_secs(1)));
    broker.enqueue(&[later(1), later(0), later(3)], None).await.unwrap();
    assert_eq!(scene.count("delay-1s:q").await, 3);
    until(&*broker, "q", async || scene.waiting().await == [3, 2, 1, 3]).await;
}

/// Sessions that know the queue from before, its lines included, find the classes as soon as it has some.
#[tokio::test]
async fn a_queue_that_is_used_gets_its_classes_when_it_is_configured() {
    let scene = Scene::shared().await;
    let (a, b) = (scene.session().await, scene.session().await);
    let later = |task: NewTask| task.with_start(Start::After(Duration::from_secs(1)));
    b.enqueue(&[later(task("q"))], None).await.unwrap();
    let refused = a.declare(&queue("q"), Some(&by_priority())).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    let mut tasks = Vec::new();
    until(&*b, "q", async || {
        tasks.extend(claim_most(&*b, 9).await);
        !tasks.is_empty()
    })
    .await;
    complete(&*b, tasks).await;
    a.declare(&queue("q"), Some(&by_priority())).await.unwrap();
    b.enqueue(&[ranked(3), later(ranked(2)), ranked(0)], None).await.unwrap();
    until(&*a, "q", async || scene.waiting().await == [1, 0, 1, 1]).await;
    assert_eq!(claim_most(&*b, 9).await.len(), 3);
}

/// By the format of the directory; and who declares a queue otherwise hears of both orders.
#[tokio::test]
async fn programs_that_know_no_priorities_are_refused() {
    let scene = Scene::shared().await;
    let broker = scene.session().await;
    broker.declare(&queue("q"), Some(&by_priority())).await.unwrap();
    assert!(scene.directory().await.starts_with(r#"{"format":4,"#));
    let error = broker.declare(&queue("q"), Some(&QueueOptions::default())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(
        error.to_string().contains("order fifo") && error.to_string().contains("order priority"),
        "{error}"
    );
}

#[tokio::test]
async fn a_class_that_was_removed_is_made_again() {
    let scene = Scene::shared().await;
    let broker = scene.session().await;
    broker.declare(&queue("q"), Some(&by_priority())).await.unwrap();
    scene.behind.queue_delete(scene.name("work-2:q").into(), QueueDeleteOptions::default()).await.unwrap();
    send(&*broker, &[2, 1]).await;
    assert_eq!(claim_most(&*broker, 9).await.len(), 2);
}

/// A session whose slots were filled by one class has the server's word for as many more of it; when another class has taken the
/// slots, it lets others have what comes.
#[tokio::test]
async fn credit_that_is_over_is_given_up() {
    let scene = Scene::shared().await;
    let (a, b) = (scene.session().await, scene.session().await);
    a.declare(&queue("q"), Some(&by_priority())).await.unwrap();
    let _interest = a.wait(&[queue("q")]);
    send(&*b, &[3; 6]).await;
    let tasks = claim_most(&*a, 6).await;
    assert_eq!(tasks.len(), 6);
    complete(&*a, tasks).await;
    send(&*b, &[0; 6]).await;
    // Whatever is on its way to a session is there when it has answered.
    b.status(&queue("q")).await.unwrap();
    assert_eq!(claim_most(&*a, 6).await.len(), 6, "the urgent ones");
    send(&*b, &[3; 6]).await;
    b.status(&queue("q")).await.unwrap();
    assert_eq!(scene.waiting().await, [0, 0, 0, 6]);
}

/// Somebody who waits, and has no free slot, keeps nothing that others could run.
#[tokio::test]
async fn who_has_no_free_slot_keeps_nothing() {
    let scene = Scene::shared().await;
    let (a, b) = (scene.session().await, scene.session().await);
    a.declare(&queue("q"), Some(&by_priority())).await.unwrap();
    let _interest = a.wait(&[queue("q")]);
    send(&*b, &[2]).await;
    let tasks = claim_most(&*a, 1).await;
    assert_eq!(tasks.len(), 1);
    // It asked for more urgent ones before that one, and takes that back when it asks no more.
    assert_eq!(scene.consumers("work-3:q").await, 0);
    until(&*b, "q", async || scene.consumers("work:q").await + scene.consumers("work-1:q").await == 0).await;
    send(&*b, &[0, 1, 3]).await;
    b.status(&queue("q")).await.unwrap();
    assert_eq!(scene.waiting().await, [1, 1, 0, 1]);
    complete(&*a, tasks).await;
    assert_eq!(claim_most(&*a, 9).await.len(), 3, "when it has slots again");
}
