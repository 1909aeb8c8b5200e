//! Who is served when several queues have tasks: in turns, by weight, or strictly in order.
//!
//! All of it where a queue that has tasks gives them when it is asked; with an adversary it would be somebody else's turn.

use manyhands_broker::QueueName;
use manyhands_worker::{App, Context, WorkerBuilder};

use crate::support::{Bench, Gate, Job, Log, Started, job, queue, start};

/// The queues that runs were of, in order.
type Order = Log<String>;

/// Jobs that say which queue they are of, then wait at the gate.
fn app(gate: &Gate, order: &Order) -> App {
    let (gate, order) = (gate.clone(), order.clone());
    App::new().handle(move |Job(_), ctx: Context| {
        order.add(ctx.queue().to_string());
        let gate = gate.clone();
        async move {
            gate.pass().await;
            Ok(())
        }
    })
}

/// Sends so many jobs to a queue.
async fn fill(bench: &Bench, name: &str, many: u32) {
    bench.send((0..many).map(|n| job(n).on(queue(name)))).await;
}

fn served(queues: &[(&str, u32)]) -> Vec<(QueueName, u32)> {
    queues.iter().map(|(name, weight)| (queue(name), *weight)).collect()
}

fn begin(
    bench: &Bench,
    gate: &Gate,
    order: &Order,
    describe: impl FnOnce(WorkerBuilder) -> WorkerBuilder,
) -> Started {
    start(bench.session(), app(gate, order), describe)
}

/// Lets one run after another end, until so many were started.
async fn run_until(worker: &mut Started, gate: &Gate, order: &Order, runs: usize) -> Vec<String> {
    while order.all().len() < runs {
        gate.open(1);
        worker.settled().await;
        worker.started().await;
    }
    order.all()
}

fn count(order: &[String], name: &str) -> usize {
    order.iter().filter(|queue| *queue == name).count()
}

/// With one slot, only the memory of whose turn it is can be fair.
#[tokio::test]
async fn one_slot_serves_two_queues_in_turns() {
    let (bench, gate, order) = (Bench::new(), Gate::new(), Log::new());
    fill(&bench, "a", 20).await;
    fill(&bench, "b", 20).await;
    let mut worker =
        begin(&bench, &gate, &order, |builder| builder.concurrency(1).queues(served(&[("a", 1), ("b", 1)])));
    worker.started().await;
    let order = run_until(&mut worker, &gate, &order, 10).await;
    assert_eq!(order, ["a", "b"].repeat(5));
    gate.open(100);
    worker.stop().await;
}

#[tokio::test]
async fn one_slot_serves_three_queues_in_turns() {
    let (bench, gate, order) = (Bench::new(), Gate::new(), Log::new());
    let names = ["a", "b", "c"];
    for name in names {
        fill(&bench, name, 20).await;
    }
    let queues = served(&names.map(|name| (name, 1)));
    let mut worker = begin(&bench, &gate, &order, |builder| builder.concurrency(1).queues(queues));
    worker.started().await;
    let order = run_until(&mut worker, &gate, &order, 12).await;
    assert_eq!(names.map(|name| count(&order, name)), [4, 4, 4], "runs of each in {order:?}");
    gate.open(100);
    worker.stop().await;
}

#[tokio::test]
async fn in_strict_order_a_queue_gets_only_what_those_before_it_leave() {
    let (bench, gate, order) = (Bench::new(), Gate::new(), Log::new());
    fill(&bench, "b", 5).await;
    fill(&bench, "a", 5).await;
    let mut worker = begin(&bench, &gate, &order, |builder| {
        builder.concurrency(1).strict(true).queues(served(&[("a", 1), ("b", 9)]))
    });
    worker.started().await;
    assert_eq!(
        run_until(&mut worker, &gate, &order, 7).await,
        [vec!["a"; 5], vec!["b"; 2]].concat(),
        "all of a before any of b"
    );
    bench.send([job(77).on(queue("a"))]).await;
    let order = run_until(&mut worker, &gate, &order, 11).await;
    assert_eq!(order[7..], ["a", "b", "b", "b"], "one that came to a meanwhile goes first");
    gate.open(100);
    worker.stop().await;
}

#[tokio::test]
async fn slots_are_shared_by_weight() {
    let (bench, gate, order) = (Bench::new(), Gate::new(), Log::new());
    fill(&bench, "b", 20).await;
    fill(&bench, "a", 20).await;
    let mut worker =
        begin(&bench, &gate, &order, |builder| builder.concurrency(4).queues(served(&[("b", 1), ("a", 3)])));
    for _ in 0..4 {
        worker.started().await;
    }
    assert_eq!((bench.counts("a").await, bench.counts("b").await), ([17, 0, 3, 0], [19, 0, 1, 0]));
    gate.open(100);
    worker.stop().await;
}

/// In a worker that is busy, slots become free one at a time, and the weights must hold all the same.
#[tokio::test]
async fn slots_that_become_free_one_at_a_time_are_shared_by_weight() {
    let (bench, gate, order) = (Bench::new(), Gate::new(), Log::new());
    fill(&bench, "b", 60).await;
    fill(&bench, "a", 60).await;
    let mut worker =
        begin(&bench, &gate, &order, |builder| builder.concurrency(4).queues(served(&[("b", 1), ("a", 3)])));
    for _ in 0..4 {
        worker.started().await;
    }
    let order = run_until(&mut worker, &gate, &order, 40).await;
    let of_a = count(&order, "a");
    assert!((27..=33).contains(&of_a), "{of_a} of 40 runs were of a, not about 30: {}", order.concat());
    gate.open(200);
    worker.stop().await;
}

#[tokio::test]
async fn what_a_queue_leaves_of_its_share_others_get() {
    let (bench, gate, order) = (Bench::new(), Gate::new(), Log::new());
    fill(&bench, "a", 1).await;
    fill(&bench, "b", 20).await;
    let mut worker = begin(&bench, &gate, &order, |builder| {
        builder.concurrency(4).queues(served(&[("a", 3), ("b", 1), ("missing", 9)]))
    });
    for _ in 0..4 {
        worker.started().await;
    }
    assert_eq!((bench.counts("a").await, bench.counts("b").await), ([0, 0, 1, 0], [17, 0, 3, 0]));
    gate.open(100);
    worker.stop().await;
}
