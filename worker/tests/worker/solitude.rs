//! Tasks that must run alone, because processes died that held them.

use manyhands_broker::{End, NewTask, Settlement};
use manyhands_worker::{App, Context, WorkerBuilder};

use crate::support::{
    Bench, Gate, Gauge, Job, World, claim, gated, job, let_others_run, on_both, queue, start,
};

on_both! {
    suspects_run_one_at_a_time_and_then_others_side_by_side_again,
    a_suspect_that_is_given_back_runs_alone_again,
    a_suspect_gets_its_turn_on_a_queue_that_is_never_empty,
}

/// Puts tasks on a queue and lets two processes die that hold all of them.
async fn suspects(bench: &Bench, name: &str, tasks: Vec<NewTask>) {
    let many = tasks.len();
    bench.send(tasks.into_iter().map(|task| task.on(queue(name)))).await;
    for _ in 0..2 {
        let session = bench.process();
        assert_eq!(claim(&*session, name, many).await.len(), many);
        drop(session);
    }
}

async fn suspects_run_one_at_a_time_and_then_others_side_by_side_again(world: World) {
    let (bench, gate, inside) = (world.bench(), Gate::new(), Gauge::default());
    suspects(&bench, "jobs", (1..=3).map(job).collect()).await;
    bench.send((4..=9).map(job)).await;
    let mut worker = start(bench.session(), gated(&gate, &inside), |builder| builder.concurrency(10));
    for n in 1..=3 {
        assert_eq!(worker.started().await, n.to_string());
        // News of all kinds: none of it may make the worker take more.
        bench.ring().await;
        let_others_run().await;
        assert_eq!(bench.counts("jobs").await, [9 - n, 0, 1, 0], "beside a suspect");
        assert_eq!(inside.most(), 1, "handlers at a time");
        gate.open(1);
        worker.settled().await;
    }
    inside.until(6).await;
    gate.open(6);
    worker.stop().await;
    assert_eq!(bench.counts("jobs").await, [0; 4]);
}

/// One that is given back is still a suspect: a release tells nothing about it.
async fn a_suspect_that_is_given_back_runs_alone_again(world: World) {
    let (bench, gate, inside) = (world.bench(), Gate::new(), Gauge::default());
    suspects(&bench, "jobs", (1..=2).map(job).collect()).await;
    let mut worker = start(bench.session(), gated(&gate, &inside), |builder| builder);
    worker.started().await;
    worker.shutdown.abort();
    worker.end().await.unwrap();
    gate.open(2);
    let mut worker = start(bench.session(), gated(&gate, &inside), |builder| builder);
    assert_eq!([worker.settled().await.0, worker.settled().await.0], ["1", "2"]);
    assert_eq!(inside.most(), 1);
    worker.stop().await;
}

// It gets the first task of a when it asks for it: an adversary may have nothing yet.
#[tokio::test]
async fn a_busy_worker_stops_claiming_until_it_is_idle_and_then_runs_the_suspect_alone() {
    let (bench, gate, inside) = (Bench::new(), Gate::new(), Gauge::default());
    suspects(&bench, "b", vec![job(2)]).await;
    bench.send([job(1).on(queue("a"))]).await;
    // It asks a first, and so is busy when it asks b.
    let describe = |builder: WorkerBuilder| builder.queues(vec![(queue("a"), 1), (queue("b"), 1)]);
    let mut worker = start(bench.session(), gated(&gate, &inside), describe);
    assert_eq!(worker.started().await, "1");
    bench.send((3..=5).map(|n| job(n).on(queue("a")))).await;
    bench.send((6..=8).map(|n| job(n).on(queue("b")))).await;
    let_others_run().await;
    let counts = (bench.counts("a").await, bench.counts("b").await);
    assert_eq!(counts, ([3, 0, 1, 0], [4, 0, 0, 0]), "while one runs and a suspect waits");
    gate.open(1);
    // Whose turn it is when it is idle is not said here; but sooner or later it is b's.
    while worker.started().await != "2" {
        gate.open(1);
    }
    let_others_run().await;
    assert_eq!((inside.inside(), worker.so_far()), (1, vec![]), "what runs and starts beside the suspect");
    gate.open(9);
    bench.until("a", [0; 4]).await;
    bench.until("b", [0; 4]).await;
    worker.stop().await;
}

/// Each job hands on one more, so the queue is never empty, and one slot is never free. That must not keep a suspect
/// from its turn for ever.
async fn a_suspect_gets_its_turn_on_a_queue_that_is_never_empty(world: World) {
    let (bench, gate) = (world.bench(), Gate::new());
    let pass = gate.clone();
    let app = App::new().handle(move |Job(n), ctx: Context| {
        let gate = pass.clone();
        async move {
            gate.pass().await;
            if n == 0 { Ok(()) } else { ctx.then(Job(n)) }
        }
    });
    // Another process holds the jobs while processes die of the suspect, then gives them back where they were: before it.
    bench.send((1..=6).map(job)).await;
    let held = claim(&*bench.broker, "jobs", 6).await;
    suspects(&bench, "jobs", vec![job(0)]).await;
    let give_back: Vec<_> = held.into_iter().map(|task| Settlement::new(task.lease, End::Release)).collect();
    bench.broker.settle(&give_back).await.unwrap();
    let mut worker = start(bench.session(), app, |builder| builder.concurrency(2));
    for _ in 0..2 {
        worker.started().await;
    }
    let mut runs = 0;
    loop {
        gate.open(1);
        if worker.settled().await.0 == "0" {
            break;
        }
        runs += 1;
        assert!(runs < 100, "{runs} others ran, and the suspect still waits");
    }
    gate.open(9);
    worker.stop().await;
}
