//! No more runs than there are slots, nothing is claimed beyond them, and not into a queue that is full.

use manyhands_broker::{QueueOptions, Settled};
use manyhands_worker::{App, Context};

use crate::support::{
    Gate, Gauge, Job, Step, Sum, World, claim_one, complete, job, new, on_both, queue, start, sum,
};

on_both! {
    no_more_async_tasks_run_than_there_are_slots,
    no_more_blocking_tasks_run_than_there_are_threads,
    the_slots_of_both_kinds_are_filled_side_by_side,
    a_queue_of_both_kinds_takes_threads,
    blocking_tasks_on_a_queue_of_async_ones_take_threads_too,
    while_the_next_queue_is_full_nothing_more_is_claimed,
}

/// An app whose jobs and sums wait at the gate.
fn gated(gate: &Gate, jobs: &Gauge, sums: &Gauge) -> App {
    let (gate, blocking_gate) = (gate.clone(), gate.clone());
    let (jobs, sums) = (jobs.clone(), sums.clone());
    App::new()
        .handle(move |Job(_), _| {
            let (gate, inside) = (gate.clone(), jobs.enter());
            async move {
                gate.pass().await;
                drop(inside);
                Ok(())
            }
        })
        .handle_blocking(move |Sum(_), _: &Context| {
            let _inside = sums.enter();
            blocking_gate.pass_blocking();
            Ok(())
        })
}

async fn no_more_async_tasks_run_than_there_are_slots(world: World) {
    let (bench, gate, jobs, sums) = (world.bench(), Gate::new(), Gauge::default(), Gauge::default());
    bench.send((0..10).map(job)).await;
    let mut worker = start(bench.session(), gated(&gate, &jobs, &sums), |builder| builder.concurrency(3));
    jobs.until(3).await;
    assert_eq!(bench.counts("jobs").await, [7, 0, 3, 0], "nothing is claimed beyond the slots");
    for done in 1..=7 {
        gate.open(1);
        worker.settled().await;
        jobs.until(3).await;
        assert_eq!(bench.counts("jobs").await, [7 - done, 0, 3, 0], "one for each that is settled");
    }
    gate.open(3);
    for _ in 0..3 {
        worker.settled().await;
    }
    assert_eq!((bench.counts("jobs").await, jobs.most()), ([0; 4], 3));
    worker.stop().await;
}

async fn no_more_blocking_tasks_run_than_there_are_threads(world: World) {
    let (bench, gate, jobs, sums) = (world.bench(), Gate::new(), Gauge::default(), Gauge::default());
    bench.send((0..6).map(sum)).await;
    let describe = |builder: manyhands_worker::WorkerBuilder| builder.concurrency(5).threads(2);
    let mut worker = start(bench.session(), gated(&gate, &jobs, &sums), describe);
    sums.until(2).await;
    assert_eq!(bench.counts("sums").await, [4, 0, 2, 0], "nothing is claimed beyond the threads");
    for done in 1..=4 {
        gate.open(1);
        worker.settled().await;
        sums.until(2).await;
        assert_eq!(bench.counts("sums").await, [4 - done, 0, 2, 0], "one for each that is settled");
    }
    gate.open(2);
    for _ in 0..2 {
        worker.settled().await;
    }
    assert_eq!((bench.counts("sums").await, sums.most()), ([0; 4], 2));
    worker.stop().await;
}

/// Waiting costs nothing, so it must not keep the cores from those that compute, nor the other way round.
async fn the_slots_of_both_kinds_are_filled_side_by_side(world: World) {
    let (bench, gate, jobs, sums) = (world.bench(), Gate::new(), Gauge::default(), Gauge::default());
    bench.send((0..9).map(job)).await;
    bench.send((0..9).map(sum)).await;
    let describe = |builder: manyhands_worker::WorkerBuilder| builder.concurrency(4).threads(2);
    let mut worker = start(bench.session(), gated(&gate, &jobs, &sums), describe);
    jobs.until(4).await;
    sums.until(2).await;
    assert_eq!((bench.counts("jobs").await, bench.counts("sums").await), ([5, 0, 4, 0], [7, 0, 2, 0]));
    gate.open(18);
    for _ in 0..18 {
        assert_eq!(worker.settled().await.1, Settled::Settled);
    }
    assert_eq!((jobs.most(), sums.most()), (4, 2));
    worker.stop().await;
}

/// The claim cannot choose by name, so a queue that is shared must be one of blocking tasks.
async fn a_queue_of_both_kinds_takes_threads(world: World) {
    let (bench, gate, jobs, sums) = (world.bench(), Gate::new(), Gauge::default(), Gauge::default());
    bench.send((0..4).flat_map(|n| [job(n).on(queue("both")), sum(n + 10).on(queue("both"))])).await;
    let mut worker = start(bench.session(), gated(&gate, &jobs, &sums), |builder| {
        builder.concurrency(5).threads(2).queues(vec![(queue("both"), 1)])
    });
    for _ in 0..2 {
        worker.started().await;
    }
    assert_eq!(bench.counts("both").await, [6, 0, 2, 0]);
    gate.open(8);
    for _ in 0..8 {
        worker.settled().await;
    }
    assert!(jobs.most() <= 2 && sums.most() <= 2, "{} jobs and {} sums at a time", jobs.most(), sums.most());
    worker.stop().await;
}

/// `NewTask::on` sends a task of a blocking handler to any queue, also to one whose own handlers are async.
async fn blocking_tasks_on_a_queue_of_async_ones_take_threads_too(world: World) {
    let (bench, gate, jobs, sums) = (world.bench(), Gate::new(), Gauge::default(), Gauge::default());
    bench.send((0..4).map(|n| sum(n).on(queue("jobs")))).await;
    let describe = |builder: manyhands_worker::WorkerBuilder| builder.concurrency(5).threads(1);
    let mut worker = start(bench.session(), gated(&gate, &jobs, &sums), describe);
    for _ in 0..4 {
        gate.open(1);
        worker.settled().await;
    }
    assert_eq!(sums.most(), 1, "blocking handlers at a time on one thread");
    worker.stop().await;
}

async fn while_the_next_queue_is_full_nothing_more_is_claimed(world: World) {
    let (bench, gate) = (world.bench(), Gate::new());
    let flaky = bench.flaky();
    let pass = gate.clone();
    let app = App::new()
        .queue("steps", QueueOptions::default().with_capacity(1))
        .feeds("jobs", "steps")
        .handle(move |Job(n), ctx: Context| {
            let gate = pass.clone();
            async move {
                gate.pass().await;
                ctx.then_task(new(Step(n), n))?;
                Ok(())
            }
        });
    bench.send((1..=3).map(job)).await;
    bench.send([new(Step(0), 0)]).await;
    gate.open(3);
    let mut worker = start(flaky.clone(), app, |builder| builder.concurrency(1));
    flaky.claims.until(1).await;
    for n in 0..3_u32 {
        assert_eq!(worker.so_far(), [], "what it does while the next queue is full");
        assert_eq!(bench.counts("jobs").await, [u64::from(3 - n), 0, 0, 0]);
        assert_eq!(bench.counts("steps").await, [1, 0, 0, 0]);
        let step = claim_one(&*bench.broker, "steps").await;
        assert_eq!(step.lease.id.to_string(), n.to_string());
        let asked = flaky.claims.calls();
        // The settlement makes room, and rings.
        assert_eq!(complete(&*bench.broker, &step, Vec::new()).await, Settled::Settled);
        assert_eq!(worker.settled().await.0, (n + 1).to_string());
        // After the claim that got this one, it asked once more, with a free slot, and got nothing.
        flaky.claims.until(asked + 2).await;
    }
    assert_eq!(bench.counts("jobs").await, [0; 4]);
    worker.stop().await;
}
