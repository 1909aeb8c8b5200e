//! Leases: kept while a task runs, and what becomes of a run whose lease is lost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use manyhands_broker::{
    Broker, ClaimedTask, Settled, backends::memory::adversary::Manners, clock::ManualClock,
};
use manyhands_worker::{App, Context, Ending};

use crate::support::{
    AWAY, Bench, Event, Flaky, Gate, Gauge, Job, Log, Mode, PATIENCE, Step, Sum, World, claim, complete, job,
    listen, on_both, start, sum,
};

on_both! {
    what_is_claimed_too_late_is_given_back_and_not_begun,
    an_async_handler_whose_lease_is_lost_is_dropped_and_nothing_is_settled,
    a_blocking_handler_whose_lease_is_lost_is_told_and_not_settled,
    a_settlement_that_comes_too_late_is_refused_with_its_children,
    a_settlement_that_waits_is_dropped_when_the_lease_is_lost,
}

/// Long enough for a test's thread to be late, short enough to be waited for.
const LEASE: Duration = Duration::from_millis(900);

/// Lets the lease of a queue's first task run out and claims the task for another process.
async fn steal(other: &dyn Broker, clock: &ManualClock, name: &str) -> ClaimedTask {
    for _ in 0..1000 {
        clock.advance(Duration::from_secs(60));
        // A beat may have come in between, which renews the lease.
        if let Some(task) = claim(other, name, 1).await.pop() {
            return task;
        }
    }
    panic!("the lease of {name}'s task does not run out");
}

/// Jobs that wait at the gate, hand on a step and are counted while they are inside.
fn gated(gate: &Gate, inside: &Gauge) -> App {
    let (gate, inside) = (gate.clone(), inside.clone());
    App::new().handle(move |Job(n), ctx: Context| {
        let (gate, inside) = (gate.clone(), inside.enter());
        async move {
            let _inside = inside;
            gate.pass().await;
            ctx.then(Step(n))
        }
    })
}

async fn an_async_handler_whose_lease_is_lost_is_dropped_and_nothing_is_settled(world: World) {
    let (clock, gate, inside) = (ManualClock::default(), Gate::new(), Gauge::default());
    let bench = world.bench_with_clock(&clock);
    let flaky = bench.flaky();
    bench.send([job(1)]).await;
    let short = Duration::from_millis(300);
    let mut worker =
        start(flaky.clone(), gated(&gate, &inside), |builder| builder.concurrency(1).lease(short));
    inside.until(1).await;
    let task = steal(&*bench.broker, &clock, "jobs").await;
    assert_eq!(worker.ended().await, ("1".to_owned(), Ending::Lost));
    assert_eq!(inside.inside(), 0, "handlers that run on");
    assert_eq!(complete(&*bench.broker, &task, Vec::new()).await, Settled::Settled, "the new holder's word");
    // One that comes after it: whatever was to be sent before was sent.
    gate.open(1);
    bench.send([job(2)]).await;
    assert_eq!(worker.settled().await, ("2".to_owned(), Settled::Settled));
    assert!(flaky.sent().iter().all(|id| id == "2"), "the worker settled {:?}", flaky.sent());
    worker.stop().await;
}

async fn a_blocking_handler_whose_lease_is_lost_is_told_and_not_settled(world: World) {
    let (clock, told) = (ManualClock::default(), Log::new());
    let bench = world.bench_with_clock(&clock);
    let flaky = bench.flaky();
    bench.send([sum(1)]).await;
    let log = told.clone();
    let app = App::new().handle_blocking(move |Sum(n), ctx: &Context| {
        if n == 1 {
            log.add(listen(ctx));
        }
        ctx.then(Step(n))
    });
    let short = Duration::from_millis(300);
    let mut worker = start(flaky.clone(), app, |builder| builder.threads(1).lease(short));
    worker.started().await;
    let task = steal(&*bench.broker, &clock, "sums").await;
    assert_eq!(worker.ended().await, ("1".to_owned(), Ending::Lost));
    assert_eq!(told.all(), [true], "what ctx.cancelled() said");
    assert_eq!(complete(&*bench.broker, &task, Vec::new()).await, Settled::Settled, "the new holder's word");
    bench.send([sum(2)]).await;
    assert_eq!(worker.settled().await, ("2".to_owned(), Settled::Settled));
    assert!(flaky.sent().iter().all(|id| id == "2"), "the worker settled {:?}", flaky.sent());
    assert_eq!(bench.counts("steps").await, [1, 0, 0, 0], "only the child of 2");
    worker.stop().await;
}

/// The lease counts from the claim, not from when its answer comes.
async fn what_is_claimed_too_late_is_given_back_and_not_begun(world: World) {
    let (clock, gate, inside) = (ManualClock::default(), Gate::new(), Gauge::default());
    let bench = world.bench_with_clock(&clock);
    let flaky = bench.flaky();
    flaky.claims.go(Mode::Dawdles);
    bench.send([job(1)]).await;
    let short = Duration::from_millis(300);
    let mut worker =
        start(flaky.clone(), gated(&gate, &inside), |builder| builder.concurrency(1).lease(short));
    flaky.claims.until(1).await;
    // The time that is measured.
    tokio::time::sleep(short).await;
    flaky.claims.go(Mode::Well);
    flaky.settlements.until_answered(1).await;
    assert_eq!(flaky.sent(), ["1"], "given back");
    gate.open(1);
    assert_eq!(worker.settled().await, ("1".to_owned(), Settled::Settled), "claimed again, and run");
    assert_eq!(bench.counts("steps").await, [1, 0, 0, 0]);
    worker.stop().await;
}

/// A worker that did not notice: its lease is long, and no beat is answered before the handler ends.
async fn a_settlement_that_comes_too_late_is_refused_with_its_children(world: World) {
    let (clock, gate, inside) = (ManualClock::default(), Gate::new(), Gauge::default());
    let bench = world.bench_with_clock(&clock);
    let flaky = bench.flaky();
    flaky.beats.go(Mode::Hangs);
    bench.send([job(1)]).await;
    let hour = Duration::from_secs(3600);
    let mut worker =
        start(flaky.clone(), gated(&gate, &inside), |builder| builder.concurrency(1).lease(hour));
    inside.until(1).await;
    clock.advance(hour);
    let task = steal(&*bench.broker, &clock, "jobs").await;
    gate.open(1);
    assert_eq!(worker.ended().await, ("1".to_owned(), Ending::Completed), "as far as the worker knows");
    assert_eq!(worker.settled().await, ("1".to_owned(), Settled::Lost));
    assert_eq!(bench.counts("steps").await, [0; 4]);
    assert_eq!(complete(&*bench.broker, &task, Vec::new()).await, Settled::Settled, "the new holder's word");
    worker.stop().await;
}

/// What waits to be settled is given up when its lease is lost: the slot is free for others.
async fn a_settlement_that_waits_is_dropped_when_the_lease_is_lost(world: World) {
    let (clock, gate, inside) = (ManualClock::default(), Gate::new(), Gauge::default());
    let bench = world.bench_with_clock(&clock);
    let flaky = bench.flaky();
    bench.send([job(1)]).await;
    flaky.settlements.go(AWAY);
    let short = Duration::from_millis(300);
    let mut worker =
        start(flaky.clone(), gated(&gate, &inside), |builder| builder.concurrency(1).lease(short));
    gate.open(2);
    assert_eq!(worker.ended().await, ("1".to_owned(), Ending::Completed));
    flaky.settlements.until(1).await;
    steal(&*bench.broker, &clock, "jobs").await;
    bench.send([job(2)]).await;
    assert_eq!(worker.started().await, "2", "in the slot of the first");
    flaky.settlements.go(Mode::Well);
    assert_eq!(worker.settled().await, ("2".to_owned(), Settled::Settled));
    assert_eq!(bench.counts("steps").await, [1, 0, 0, 0], "only the child of 2");
    assert_eq!(bench.counts("jobs").await, [0, 0, 1, 0], "the other process still has 1");
    worker.stop().await;
}

/// A lease never bounds how long a task may run, nor how long its settlement may wait.
// It takes a third of a lease for every beat, which holds only where none is refused and repeated.
#[tokio::test]
async fn a_lease_is_renewed_while_the_task_runs_and_while_its_settlement_waits() {
    let (bench, gate, inside) = (Bench::new(), Gate::new(), Gauge::default());
    let flaky = bench.flaky();
    bench.send([job(1)]).await;
    let mut worker =
        start(flaky.clone(), gated(&gate, &inside), |builder| builder.concurrency(1).lease(LEASE));
    inside.until(1).await;
    // Four thirds of a lease.
    flaky.beats.more(4).await;
    assert_eq!(claim(&*bench.broker, "jobs", 1).await, [], "what another process gets");
    flaky.settlements.go(AWAY);
    gate.open(1);
    worker.ended().await;
    flaky.beats.more(4).await;
    assert_eq!(claim(&*bench.broker, "jobs", 1).await, [], "what another process gets");
    flaky.settlements.go(Mode::Well);
    assert_eq!(worker.settled().await, ("1".to_owned(), Settled::Settled));
    worker.stop().await;
}

/// Nothing else of this runtime runs while the handler blocks its only thread.
// As above.
#[tokio::test]
async fn a_handler_that_blocks_the_runtime_does_not_stop_the_beats() {
    let bench = Bench::new();
    let flaky = bench.flaky();
    let beats = Arc::clone(&flaky);
    let app = App::new().handle(move |Job(_), _| {
        let flaky = Arc::clone(&beats);
        async move {
            block_until_beaten(&flaky);
            Ok(())
        }
    });
    bench.send([job(1)]).await;
    let mut worker = start(flaky.clone(), app, |builder| builder.lease(LEASE));
    assert_eq!(worker.event().await, Event::Started("1".to_owned()));
    assert_eq!(worker.event().await, Event::Ended("1".to_owned(), Ending::Completed));
    assert_eq!(worker.event().await, Event::Settled("1".to_owned(), Settled::Settled));
    worker.stop().await;
}

/// Four thirds of a lease, and a third for the first to come.
fn block_until_beaten(flaky: &Flaky) {
    let began = Instant::now();
    while flaky.beats.calls() < 5 {
        assert!(began.elapsed() < PATIENCE, "{} beats in {PATIENCE:?}", flaky.beats.calls());
        // To block the thread is what this test is about.
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// All leases of a worker at once, while its handlers run: each is stopped, nothing is settled for them, and the slots are
/// free for the same tasks.
#[tokio::test]
async fn handlers_of_forgotten_leases_are_stopped() {
    const TASKS: usize = 4;
    let (bench, gate, inside) = (Bench::new(), Gate::new(), Gauge::default());
    bench.send((0..8).map(job)).await;
    let (adversary, broker) = bench.adversary(Manners::QUIET, 1);
    let mut worker = start(broker, gated(&gate, &inside), |builder| builder.concurrency(TASKS).lease(LEASE));
    inside.until(TASKS).await;
    assert_eq!(adversary.forget_leases().await.unwrap(), TASKS);
    for _ in 0..TASKS {
        assert_eq!(worker.ended().await.1, Ending::Lost);
    }
    inside.until(TASKS).await;
    gate.open(2 * TASKS);
    for _ in 0..2 * TASKS {
        assert_eq!(worker.settled().await.1, Settled::Settled);
    }
    assert_eq!((bench.counts("jobs").await, bench.counts("steps").await), ([0; 4], [8, 0, 0, 0]));
    assert_eq!(inside.most(), TASKS);
    worker.stop().await;
}

/// The lease is lost after the last beat and before the settlement: the answer is the first that the worker hears of it.
#[tokio::test]
async fn a_settlement_after_the_lease_was_forgotten_is_refused_and_the_task_runs_again() {
    let (bench, gate, inside) = (Bench::new(), Gate::new(), Gauge::default());
    bench.send([job(1)]).await;
    let (adversary, broker) = bench.adversary(Manners::QUIET, 1);
    let hour = Duration::from_secs(3600);
    let mut worker = start(broker, gated(&gate, &inside), |builder| builder.concurrency(1).lease(hour));
    inside.until(1).await;
    adversary.forget_leases().await.unwrap();
    gate.open(1);
    assert_eq!(worker.settled().await, ("1".to_owned(), Settled::Lost));
    assert_eq!(bench.counts("steps").await, [0; 4], "its child was refused with it");
    gate.open(1);
    assert_eq!(worker.settled().await, ("1".to_owned(), Settled::Settled));
    assert_eq!(bench.counts("steps").await, [1, 0, 0, 0]);
    worker.stop().await;
}
