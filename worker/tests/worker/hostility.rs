//! What a worker promises whatever the broker does, on adversaries that lose leases and answers.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use manyhands_broker::{
    Settled, TaskId,
    backends::memory::adversary::{Call, Fault, Manners},
};
use manyhands_worker::{App, Context, Ending, Observer, Running, TaskError, WorkerBuilder};
use tokio::task::JoinSet;

use crate::support::{
    Bench, Event, Gate, Gauge, Job, Log, Named, Step, Sum, claim, job, listen, new, queue, soon, start, sum,
};

/// Long enough for a test's thread to be late, short enough to be waited for.
const LEASE: Duration = Duration::from_millis(500);

/// How many slots a worker has.
const SLOTS: usize = 4;

/// How many jobs there are.
const JOBS: u32 = 12;

/// How many seeds are tried side by side: they mostly wait.
const ABREAST: usize = 50;

/// Tries seeds, many at a time.
async fn on_seeds<F>(seeds: u64, test: impl Fn(u64) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut running = JoinSet::new();
    for seed in 0..seeds {
        if running.len() >= ABREAST {
            running.join_next().await.unwrap().unwrap();
        }
        let test = test(seed);
        running.spawn(async move {
            let _named = Named(seed);
            test.await;
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

/// Jobs of all kinds: short and long ones, some that fail at first, some that never succeed. Those that succeed hand on one
/// step each.
fn app(inside: &Gauge) -> App {
    let inside = inside.clone();
    App::new().handle(move |Job(n), ctx: Context| {
        let inside = inside.enter();
        async move {
            let _inside = inside;
            match n % 6 {
                // Long enough for a beat to tell that the lease is lost.
                0 => tokio::time::sleep(LEASE / 2).await,
                1 if ctx.attempt() == 1 => return Err(TaskError::retry("not yet").after(Duration::ZERO)),
                2 => return Err(TaskError::bury("never")),
                // A panic, without its lines in the log.
                3 if ctx.attempt() == 1 => std::panic::resume_unwind(Box::new("once")),
                _ => tokio::task::yield_now().await,
            }
            // Without an id of its own, so that one too many would be seen.
            ctx.then(Step(n))
        }
    })
}

/// Every job is dead or has handed on exactly one step.
async fn all_are_settled(bench: &Bench) {
    let [ready, scheduled, leased, dead] = bench.counts("jobs").await;
    assert_eq!([ready, scheduled, leased], [0; 3], "jobs that are not settled");
    let steps: Vec<_> = claim(&*bench.broker, "steps", 100).await;
    let numbers: BTreeSet<_> = steps.iter().map(|step| step.payload.as_str().to_owned()).collect();
    assert_eq!(numbers.len(), steps.len(), "steps that were handed on twice: {steps:?}");
    assert_eq!(steps.len() as u64 + dead, u64::from(JOBS), "steps and dead jobs");
}

/// Two workers that meet an adversary each end when all is settled, however often that was undone, and run no more at a time
/// than they have slots.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_task_is_settled_and_workers_end_with_their_queue() {
    let lost = Arc::new(AtomicUsize::new(0));
    on_seeds(300, |seed| {
        let lost = Arc::clone(&lost);
        async move {
            let bench = Bench::new();
            bench.send((0..JOBS).map(job)).await;
            bench.close("jobs").await;
            let mut workers = Vec::new();
            for n in 0..2 {
                let inside = Gauge::default();
                let (_, broker) = bench.adversary(Manners::HOSTILE, 2 * seed + n);
                let describe =
                    |builder: WorkerBuilder| builder.concurrency(SLOTS).lease(LEASE).until_ended(true);
                workers.push((start(broker, app(&inside), describe), inside));
            }
            for (worker, inside) in &mut workers {
                assert_eq!(worker.end().await.unwrap().strays, 0);
                assert_eq!(inside.inside(), 0, "handlers that still run");
                assert!(inside.most() <= SLOTS, "{} handlers ran at a time", inside.most());
                let refused = |event: &Event| matches!(event, Event::Settled(_, Settled::Lost));
                let stopped = |event: &Event| matches!(event, Event::Ended(_, Ending::Lost));
                let events = worker.so_far();
                let times = events.iter().filter(|event| refused(event) || stopped(event)).count();
                lost.fetch_add(times, Ordering::Relaxed);
            }
            all_are_settled(&bench).await;
        }
    })
    .await;
    let lost = lost.load(Ordering::Relaxed);
    assert!(lost > 100, "only {lost} leases were lost in all: that proves nothing");
}

/// Tells whether anything ran beside a task that must run alone.
#[derive(Debug, Default)]
struct Chaperon {
    /// What runs, and whether alone.
    running: Mutex<Vec<(TaskId, bool)>>,
    alone: AtomicUsize,
    beside: AtomicUsize,
}

impl Observer for Chaperon {
    fn started(&self, run: &Running<'_>) {
        let mut running = self.running.lock().unwrap();
        running.push((run.task.lease.id.clone(), run.task.alone));
        self.alone.fetch_add(usize::from(run.task.alone), Ordering::Relaxed);
        let beside = running.len() > 1 && running.iter().any(|(_, alone)| *alone);
        self.beside.fetch_add(usize::from(beside), Ordering::Relaxed);
    }

    fn ended(&self, run: &Running<'_>, _: &Ending, _: Duration) {
        let mut running = self.running.lock().unwrap();
        if let Some(index) = running.iter().position(|(id, _)| *id == run.task.lease.id) {
            running.remove(index);
        }
    }
}

/// Most leases are lost, so most tasks become suspects.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_runs_beside_a_suspect() {
    let alone = Arc::new(AtomicUsize::new(0));
    on_seeds(100, |seed| {
        let alone = Arc::clone(&alone);
        async move {
            let (bench, chaperon) = (Bench::new(), Arc::new(Chaperon::default()));
            bench.send((0..JOBS).map(job)).await;
            bench.close("jobs").await;
            let (_, broker) = bench.adversary(Manners { lost_leases: 500, ..Manners::HOSTILE }, seed);
            let describe = |builder: WorkerBuilder| {
                let builder = builder.concurrency(SLOTS).lease(LEASE).until_ended(true);
                builder.observer(Arc::clone(&chaperon) as Arc<dyn Observer>)
            };
            let mut worker = start(broker, app(&Gauge::default()), describe);
            assert_eq!(worker.end().await.unwrap().strays, 0);
            all_are_settled(&bench).await;
            assert_eq!(chaperon.beside.load(Ordering::Relaxed), 0, "runs beside a suspect");
            alone.fetch_add(chaperon.alone.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    })
    .await;
    let alone = alone.load(Ordering::Relaxed);
    assert!(alone > 100, "only {alone} runs of suspects: that proves nothing");
}

/// Two stages that are closed from the beginning: what the first hands on must not be left behind by a worker that serves both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_ends_with_its_queues_and_leaves_nothing_behind() {
    on_seeds(100, |seed| async move {
        let bench = Bench::new();
        bench.send((0..JOBS).map(job)).await;
        bench.close("jobs").await;
        bench.close("steps").await;
        let runs = Log::new();
        let log = runs.clone();
        let app = app(&Gauge::default()).handle(move |Step(n), _| {
            log.add(n);
            std::future::ready(Ok(()))
        });
        let (_, broker) = bench.adversary(Manners::HOSTILE, seed);
        let describe = |builder: WorkerBuilder| builder.concurrency(SLOTS).lease(LEASE).until_ended(true);
        let mut worker = start(broker, app, describe);
        assert_eq!(worker.end().await.unwrap().strays, 0);
        let ([.., dead], [.., dead_steps]) = (bench.counts("jobs").await, bench.counts("steps").await);
        assert_eq!(
            (bench.counts("jobs").await, bench.counts("steps").await),
            ([0, 0, 0, dead], [0, 0, 0, dead_steps])
        );
        let steps: BTreeSet<_> = runs.all().into_iter().collect();
        assert!(
            steps.len() as u64 + dead_steps + dead >= u64::from(JOBS),
            "steps that ran: {steps:?}; dead: {dead}"
        );
    })
    .await;
}

/// Whatever became of a slot's task, the slot is free again: when the adversary is quiet, all of them are used at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_slot_is_lost() {
    on_seeds(200, |seed| async move {
        let (bench, gate, inside) = (Bench::new(), Gate::new(), Gauge::default());
        bench.send((0..JOBS).map(job)).await;
        let (adversary, broker) = bench.adversary(Manners::HOSTILE, seed);
        let (pass, gauge) = (gate.clone(), inside.clone());
        let app = app(&Gauge::default()).handle(move |Step(_), _| {
            let (gate, inside) = (pass.clone(), gauge.enter());
            async move {
                let _inside = inside;
                gate.pass().await;
                Ok(())
            }
        });
        let describe = |builder: WorkerBuilder| {
            builder.concurrency(SLOTS).queues(vec![(queue("jobs"), 1), (queue("late"), 1)])
        };
        let worker = start(broker, app, |builder| describe(builder).lease(LEASE));
        let settled = async {
            while bench.counts("jobs").await[..3] != [0; 3] {
                let _ = tokio::time::timeout(LEASE, bench.broker.wait(&[queue("jobs")])).await;
            }
        };
        soon("all jobs are settled", settled).await;
        all_are_settled(&bench).await;
        adversary.set_manners(Manners::QUIET);
        let many = u32::try_from(SLOTS).unwrap();
        bench.send((0..2 * many).map(|n| new(Step(n), n).on(queue("late")))).await;
        inside.until(SLOTS).await;
        gate.open(2 * SLOTS);
        bench.until("late", [0; 4]).await;
        assert_eq!(inside.most(), SLOTS);
        worker.stop().await;
    })
    .await;
}

/// Orders come at any time, and the broker does not make it easy to obey. What is left is there for others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_told_to_end_ends_and_leaves_all_that_it_did_not_settle() {
    on_seeds(200, |seed| async move {
        let (bench, inside) = (Bench::new(), Gauge::default());
        bench.send((0..JOBS).map(job)).await;
        let (_, broker) = bench.adversary(Manners::HOSTILE, seed);
        let mut worker = start(broker, app(&inside), |builder| builder.concurrency(SLOTS).lease(LEASE));
        for _ in 0..seed % 5 {
            worker.event().await;
        }
        if seed % 2 == 0 {
            worker.shutdown.stop();
        } else {
            worker.shutdown.abort();
        }
        assert_eq!(worker.end().await.unwrap().strays, 0);
        assert_eq!(inside.inside(), 0, "handlers that still run");
        drop(worker);
        // The session's end, soon after: the thread of the beats may still have it.
        let mut rest = start(bench.process(), app(&inside), |builder| builder.until_ended(true));
        bench.close("jobs").await;
        rest.end().await.unwrap();
        all_are_settled(&bench).await;
    })
    .await;
}

/// All leases of a worker at once, while its handlers run: each is stopped, nothing is settled for them, and the slots are
/// free for the same tasks.
#[tokio::test]
async fn handlers_of_forgotten_leases_are_stopped() {
    let (bench, gate, inside) = (Bench::new(), Gate::new(), Gauge::default());
    let (pass, gauge) = (gate.clone(), inside.clone());
    let app = App::new().handle(move |Job(n), ctx: Context| {
        let (gate, inside) = (pass.clone(), gauge.enter());
        async move {
            let _inside = inside;
            gate.pass().await;
            ctx.then(Step(n))
        }
    });
    bench.send((0..JOBS).map(job)).await;
    let (adversary, broker) = bench.adversary(Manners::QUIET, 1);
    let mut worker = start(broker, app, |builder| builder.concurrency(SLOTS).lease(LEASE));
    inside.until(SLOTS).await;
    assert_eq!(adversary.forget_leases().await.unwrap(), SLOTS);
    for _ in 0..SLOTS {
        assert_eq!(worker.ended().await.1, Ending::Lost);
    }
    inside.until(SLOTS).await;
    gate.open(JOBS as usize);
    for _ in 0..JOBS {
        assert_eq!(worker.settled().await.1, Settled::Settled);
    }
    all_are_settled(&bench).await;
    assert_eq!(inside.most(), SLOTS);
    worker.stop().await;
}

/// A thread can only be told; what it returns then is not settled.
#[tokio::test]
async fn a_blocking_handler_of_a_forgotten_lease_is_told() {
    let (bench, told) = (Bench::new(), Log::new());
    let log = told.clone();
    let app = App::new().handle_blocking(move |Sum(n), ctx: &Context| {
        if told_before(&log) {
            return ctx.then(Step(n));
        }
        log.add(listen(ctx));
        ctx.then(Step(n))
    });
    bench.send([sum(1)]).await;
    let (adversary, broker) = bench.adversary(Manners::QUIET, 1);
    let mut worker = start(broker, app, |builder| builder.threads(1).lease(LEASE));
    worker.started().await;
    assert_eq!(adversary.forget_leases().await.unwrap(), 1);
    assert_eq!(worker.ended().await, ("1".to_owned(), Ending::Lost));
    assert_eq!(told.all(), [true], "what ctx.cancelled() said");
    assert_eq!(worker.settled().await, ("1".to_owned(), Settled::Settled), "the second run");
    assert_eq!(bench.counts("steps").await, [1, 0, 0, 0]);
    worker.stop().await;
}

fn told_before(log: &Log<bool>) -> bool {
    !log.all().is_empty()
}

/// The lease is lost after the last beat and before the settlement: the answer is the first that the worker hears of it.
#[tokio::test]
async fn a_settlement_after_the_lease_was_forgotten_is_refused_and_the_task_runs_again() {
    let (bench, gate, inside) = (Bench::new(), Gate::new(), Gauge::default());
    let (pass, gauge) = (gate.clone(), inside.clone());
    let app = App::new().handle(move |Job(n), ctx: Context| {
        let (gate, inside) = (pass.clone(), gauge.enter());
        async move {
            let _inside = inside;
            gate.pass().await;
            ctx.then(Step(n))
        }
    });
    bench.send([job(1)]).await;
    let (adversary, broker) = bench.adversary(Manners::QUIET, 1);
    let hour = Duration::from_secs(3600);
    let mut worker = start(broker, app, |builder| builder.concurrency(1).lease(hour));
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

/// Each settlement takes effect, and none is answered: the slot is free when it was repeated, and the children are there once.
#[tokio::test]
async fn a_settlement_of_unknown_outcome_keeps_no_slot() {
    const TIMES: u32 = 3;
    let bench = Bench::new();
    let (adversary, broker) = bench.adversary(Manners::QUIET, 1);
    let app = App::new().handle(async |Job(n), ctx: Context| ctx.then(Step(n)));
    let mut worker = start(broker, app, |builder| builder.concurrency(1));
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
    let app = App::new().handle(async |Job(n), ctx: Context| ctx.then(Step(n)));
    let mut worker = start(broker, app, |builder| builder.concurrency(1));
    assert_eq!(worker.settled().await, ("1".to_owned(), Settled::Settled));
    worker.stop().await;
}
