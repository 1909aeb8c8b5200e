//! A broker that is away for a while, does not answer, or answers with an error.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use manyhands_broker::{
    Broker, Claim, ErrorKind, QueueOptions, Settled,
    backends::memory::adversary::{Call, Fault, Manners},
};
use manyhands_worker::{App, Context, Ending};

use crate::support::{
    AWAY, Bench, Gate, Gauge, Job, Mode, OnDrop, Step, World, claim, job, let_others_run, new, on_both,
    queue, soon, start,
};

on_both! {
    claims_go_on_when_the_broker_is_back,
    settlements_wait_for_the_broker_and_keep_their_slots,
    a_settlement_whose_answer_was_lost_takes_effect_once,
}

/// How long leases last where they run out. The handlers are to be stopped after two thirds of it.
const LEASE: Duration = Duration::from_millis(1500);

/// How long a handler computes between two awaits.
const SLICE: Duration = Duration::from_millis(100);

/// Jobs that hand on a step.
fn handing_on() -> App {
    App::new().handle(async |Job(n), ctx: Context| ctx.then(Step(n)))
}

async fn claims_go_on_when_the_broker_is_back(world: World) {
    let bench = world.bench();
    let flaky = bench.flaky();
    flaky.claims.go(AWAY);
    let mut worker = start(flaky.clone(), handing_on(), |builder| builder);
    flaky.claims.until(2).await;
    bench.send([job(1)]).await;
    flaky.claims.go(Mode::Hangs);
    flaky.claims.more(1).await;
    assert_eq!(bench.counts("jobs").await, [1, 0, 0, 0]);
    flaky.claims.go(Mode::Well);
    assert_eq!(worker.settled().await, ("1".to_owned(), Settled::Settled));
    worker.stop().await;
}

/// However long it was away. Time passes as fast as it can here: whenever nothing else is to be done, the next timer is due.
#[tokio::test(start_paused = true)]
async fn work_goes_on_in_seconds_when_the_broker_is_back() {
    const SECONDS: Duration = Duration::from_secs(3);
    for away in (1..=12).map(Duration::from_secs) {
        for settling in [true, false] {
            let bench = Bench::new();
            let flaky = bench.flaky();
            // A settlement that is answered wakes who claims, so it is one or the other.
            let line = if settling { &flaky.settlements } else { &flaky.claims };
            line.go(AWAY);
            bench.send([job(1)]).await;
            let mut worker = start(flaky.clone(), handing_on(), |builder| builder);
            line.until(1).await;
            tokio::time::sleep(away).await;
            line.go(Mode::Well);
            let back = tokio::time::Instant::now();
            assert_eq!(worker.settled().await.1, Settled::Settled);
            assert!(back.elapsed() < SECONDS, "away for {away:?}, and {:?} more", back.elapsed());
            worker.stop().await;
        }
    }
}

/// Slots are free when the settlements are on their way, and those of one call only: else a worker would take on more and more
/// that it cannot finish.
async fn settlements_wait_for_the_broker_and_keep_their_slots(world: World) {
    for outage in [AWAY, Mode::Hangs] {
        let bench = world.bench();
        let flaky = bench.flaky();
        flaky.settlements.go(outage);
        bench.send((1..=5).map(job)).await;
        let mut worker = start(flaky.clone(), handing_on(), |builder| builder.concurrency(2));
        let (calls, ended) = if outage == AWAY { (3, 2) } else { (1, 4) };
        for _ in 0..ended {
            assert_eq!(worker.ended().await.1, Ending::Completed);
        }
        flaky.settlements.until(calls).await;
        bench.ring().await;
        let_others_run().await;
        assert_eq!(bench.counts("jobs").await, [5 - ended, 0, ended, 0], "while settlements wait");
        assert_eq!((bench.counts("steps").await, worker.so_far()), ([0; 4], vec![]));
        flaky.settlements.go(Mode::Well);
        for _ in 0..5 {
            assert_eq!(worker.settled().await.1, Settled::Settled);
        }
        assert_eq!((bench.counts("jobs").await, bench.counts("steps").await), ([0; 4], [5, 0, 0, 0]));
        worker.stop().await;
    }
}

/// The worker learns of it by sending it again, or by the next beat.
async fn a_settlement_whose_answer_was_lost_takes_effect_once(world: World) {
    let bench = world.bench();
    let flaky = bench.flaky();
    flaky.settlements.go(Mode::Forgets);
    bench.send([job(1)]).await;
    let mut worker = start(flaky.clone(), handing_on(), |builder| builder.concurrency(1));
    flaky.settlements.until(1).await;
    flaky.settlements.go(Mode::Well);
    bench.send([job(2)]).await;
    while worker.settled().await != ("2".to_owned(), Settled::Settled) {}
    assert_eq!((bench.counts("jobs").await, bench.counts("steps").await), ([0; 4], [2, 0, 0, 0]));
    worker.stop().await;
}

// Which settlements are sent together depends on none being refused.
#[tokio::test]
async fn one_impossible_settlement_does_not_hold_up_the_others() {
    let bench = Bench::new();
    let flaky = bench.flaky();
    let app = App::new().handle(async |Job(n), ctx: Context| {
        let child = new(Step(n), n);
        // No broker accepts a child that may not be tried once.
        ctx.then_task(if n == 2 { child.with_max_attempts(0) } else { child })
    });
    flaky.settlements.go(Mode::Hangs);
    bench.send([job(0)]).await;
    let mut worker = start(flaky.clone(), app, |builder| builder);
    flaky.settlements.until(1).await;
    bench.send((1..=3).map(job)).await;
    while worker.ended().await.0 != "3" {}
    flaky.settlements.go(Mode::Well);
    for id in ["0", "1", "2", "3"] {
        assert_eq!(worker.settled().await, (id.to_owned(), Settled::Settled));
    }
    assert_eq!(flaky.sent()[1..4], ["1", "2", "3"], "they were sent together");
    assert_eq!(bench.counts("jobs").await, [0, 0, 0, 1], "2 is dead");
    let children = claim(&*bench.broker, "steps", 9).await;
    let payloads: Vec<_> = children.iter().map(|child| child.payload.as_str()).collect();
    assert_eq!(payloads, ["0", "1", "3"]);
    worker.stop().await;
}

/// A broker that is away for a moment when the worker starts is no reason to end.
#[tokio::test]
async fn queues_are_declared_when_the_broker_is_back() {
    let bench = Bench::new();
    let (adversary, broker) = bench.adversary(Manners::QUIET, 1);
    adversary.fail_next(Call::Declare, Fault::Refused);
    adversary.fail_next(Call::Declare, Fault::Unanswered);
    let app = App::new()
        .queue("jobs", QueueOptions::default().with_capacity(5))
        .handle(async |Job(n), ctx: Context| ctx.then(Step(n)));
    bench.send([job(1)]).await;
    let mut worker = start(broker, app, |builder| builder);
    assert_eq!(worker.settled().await, ("1".to_owned(), Settled::Settled));
    let status = bench.broker.status(&queue("jobs")).await.unwrap().unwrap();
    assert_eq!(status.options.capacity, 5);
    worker.stop().await;
}

/// A worker that has not begun yet is told to stop.
#[tokio::test]
async fn a_worker_whose_queues_cannot_be_declared_can_be_told_to_stop() {
    let bench = Bench::new();
    let (adversary, broker) = bench.adversary(Manners { refused: 1000, ..Manners::QUIET }, 1);
    let app = App::new().queue("jobs", QueueOptions::default()).handle(async |Job(_), _| Ok(()));
    let mut worker = start(broker, app, |builder| builder);
    worker.shutdown.stop();
    assert_eq!(worker.end().await.unwrap().strays, 0);
    assert_eq!(adversary.status(&queue("jobs")).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

/// Each settlement takes effect, and none is answered: the slot is free when it was repeated, and the children are there once.
#[tokio::test]
async fn a_settlement_of_unknown_outcome_keeps_no_slot() {
    const TIMES: u32 = 3;
    let bench = Bench::new();
    let (adversary, broker) = bench.adversary(Manners::QUIET, 1);
    let mut worker = start(broker, handing_on(), |builder| builder.concurrency(1));
    for n in 1..=TIMES {
        adversary.fail_next(Call::Settle, Fault::Unanswered);
        adversary.fail_next(Call::Settle, Fault::Refused);
        bench.send([job(n)]).await;
        assert_eq!(worker.ended().await, (n.to_string(), Ending::Completed));
        // Whether it hears of this by the settlement that it repeats or by a beat, it goes on.
    }
    bench.send([job(TIMES + 1)]).await;
    while worker.settled().await != ((TIMES + 1).to_string(), Settled::Settled) {}
    let counts = (bench.counts("jobs").await, bench.counts("steps").await);
    assert_eq!(counts, ([0; 4], [u64::from(TIMES) + 1, 0, 0, 0]));
    worker.stop().await;
}

/// A claim whose answer is lost leaves tasks that nobody knows of. They come back, and the worker goes on.
#[tokio::test]
async fn what_an_unanswered_claim_got_is_run_in_the_end() {
    let bench = Bench::new();
    let (adversary, broker) = bench.adversary(Manners::QUIET, 1);
    bench.send([job(1)]).await;
    adversary.fail_next(Call::Claim, Fault::Unanswered);
    let mut worker = start(broker, handing_on(), |builder| builder.concurrency(1));
    assert_eq!(worker.settled().await, ("1".to_owned(), Settled::Settled));
    worker.stop().await;
}

/// Claims a task as soon as the broker gives it to another process.
async fn take_over(broker: &dyn Broker, name: &str) {
    let taken = async {
        loop {
            let reply = broker.claim(&Claim::new(queue(name), 1)).await.unwrap();
            if !reply.tasks.is_empty() {
                return;
            }
            // Nothing else tells that a lease ran out.
            tokio::time::sleep(reply.next.unwrap_or_default()).await;
        }
    };
    soon("the lease runs out", taken).await;
}

/// On a broker that is well but for this: which beat goes well is the point of it.
///
/// Claims a task just after a beat, from where on beats fail in this way. That is the worst moment: a worker that looks
/// for what was not confirmed only when it beats finds it a whole third of the lease later than at best.
async fn is_stopped_in_time(outage: Mode) {
    let bench = Bench::new();
    let flaky = bench.flaky();
    let (gate, stopped) = (Gate::new(), Arc::new(AtomicBool::new(false)));
    let (pass, dropped) = (gate.clone(), Arc::clone(&stopped));
    let app = App::new().handle(move |Job(n), _| {
        let (gate, dropped) = (pass.clone(), Arc::clone(&dropped));
        async move {
            if n == 0 {
                gate.pass().await;
                return Ok(());
            }
            let _dropped = OnDrop::new(move || dropped.store(true, Ordering::SeqCst));
            loop {
                // It computes, as some do, and so is dropped only where it awaits.
                std::thread::park_timeout(SLICE);
                tokio::task::yield_now().await;
            }
        }
    });
    bench.send([job(0).on(queue("first"))]).await;
    let queues = vec![(queue("first"), 1), (queue("jobs"), 1)];
    let mut worker = start(flaky.clone(), app, |builder| builder.queues(queues).lease(LEASE));
    flaky.beats.until(1).await;
    flaky.beats.go(outage);
    bench.send([job(1)]).await;
    while worker.started().await != "1" {}
    // It must not take the task back itself.
    flaky.claims.go(AWAY);
    gate.open(1);
    take_over(&*bench.broker, "jobs").await;
    assert!(stopped.load(Ordering::SeqCst), "another process got the task while the handler still ran");
    assert_eq!(worker.ended().await.1, Ending::Completed);
    assert_eq!(worker.ended().await, ("1".to_owned(), Ending::Lost));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_is_stopped_before_its_lease_is_over_when_beats_fail() {
    is_stopped_in_time(AWAY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_is_stopped_before_its_lease_is_over_when_beats_are_not_answered() {
    is_stopped_in_time(Mode::Hangs).await;
}

/// More leases than fit into one call, all claimed before the outage, so that several calls in a row are not answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_handlers_are_stopped_before_their_leases_are_over_when_beats_are_not_answered() {
    let (bench, inside) = (Bench::new(), Gauge::default());
    let flaky = bench.flaky();
    let gauge = inside.clone();
    let app = App::new().handle(move |Job(_), _| {
        let inside = gauge.enter();
        async move {
            let _inside = inside;
            std::future::pending().await
        }
    });
    for batch in 0..4 {
        bench.send((0..200).map(|n| job(batch * 200 + n))).await;
    }
    let worker = start(flaky.clone(), app, |builder| builder.concurrency(800).lease(LEASE));
    inside.until(800).await;
    flaky.beats.go(Mode::Hangs);
    flaky.claims.go(AWAY);
    take_over(&*bench.broker, "jobs").await;
    assert_eq!(inside.inside(), 0, "handlers that still run when another process gets the first task");
    worker.stop().await;
}
