//! What a worker promises whatever the broker does, on adversaries that lose leases and answers.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use manyhands_broker::{Settled, TaskId, backends::memory::adversary::Manners};
use manyhands_worker::{App, Context, Ending, Observer, Running, TaskError, WorkerBuilder};
use tokio::task::JoinSet;

use crate::support::{
    Bench, Event, Gate, Gauge, Job, Log, Named, Step, Sum, claim, job, listen, new, queue, soon, start, sum,
};

/// Long enough for a test's thread to be late, short enough to be waited for.
const LEASE: Duration = Duration::from_millis(500);

/// How many slots a worker has.
const SLOTS: usize = 4;

/// How many blocking tasks run at a time.
const THREADS: usize = 2;

/// How many jobs there are.
const JOBS: u32 = 12;

/// How many sums there are.
const SUMS: u32 = 4;

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

/// The number of a sum that goes on until it is told to stop.
const ENDLESS: u32 = 1000;

/// Puts jobs and sums on their queues.
async fn fill(bench: &Bench) {
    bench.send((0..JOBS).map(job)).await;
    bench.send((0..SUMS).map(|n| sum(JOBS + n))).await;
}

/// Closes both queues.
async fn close(bench: &Bench) {
    bench.close("jobs").await;
    bench.close("sums").await;
}

/// Jobs of all kinds: short and long ones, some that fail at first, some that never succeed. And sums, of which one hears that
/// it should stop. Those that succeed hand on one step each.
fn app(jobs: &Gauge, sums: &Gauge) -> App {
    let (jobs, sums) = (jobs.clone(), sums.clone());
    App::new()
        .handle(move |Job(n), ctx: Context| {
            let inside = jobs.enter();
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
        .handle_blocking(move |Sum(n), ctx: &Context| {
            let _inside = sums.enter();
            if n == ENDLESS {
                listen(ctx);
            }
            if n == JOBS {
                let began = Instant::now();
                while !ctx.cancelled() && began.elapsed() < LEASE {
                    std::thread::park_timeout(Duration::from_millis(1));
                }
            }
            ctx.then(Step(n))
        })
}

/// Every task is dead or has handed on exactly one step.
async fn all_are_settled(bench: &Bench) {
    let mut all_dead = 0;
    for name in ["jobs", "sums"] {
        let [ready, scheduled, leased, dead] = bench.counts(name).await;
        assert_eq!([ready, scheduled, leased], [0; 3], "tasks of {name} that are not settled");
        all_dead += dead;
    }
    let steps: Vec<_> = claim(&*bench.broker, "steps", 100).await;
    let numbers: BTreeSet<_> = steps.iter().map(|step| step.payload.as_str().to_owned()).collect();
    assert_eq!(numbers.len(), steps.len(), "steps that were handed on twice: {steps:?}");
    assert_eq!(steps.len() as u64 + all_dead, u64::from(JOBS + SUMS), "steps and dead tasks");
}

/// The slots of both kinds, and short leases.
fn small(builder: WorkerBuilder) -> WorkerBuilder {
    builder.concurrency(SLOTS).threads(THREADS).lease(LEASE)
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
            fill(&bench).await;
            close(&bench).await;
            let mut workers = Vec::new();
            for n in 0..2 {
                let (jobs, sums) = (Gauge::default(), Gauge::default());
                let (_, broker) = bench.adversary(Manners::HOSTILE, 2 * seed + n);
                let worker = start(broker, app(&jobs, &sums), |builder| small(builder).until_ended(true));
                workers.push((worker, jobs, sums));
            }
            for (worker, jobs, sums) in &mut workers {
                assert_eq!(worker.end().await.unwrap().strays, 0);
                assert_eq!((jobs.inside(), sums.inside()), (0, 0), "handlers that still run");
                assert!(jobs.most() <= SLOTS, "{} jobs ran at a time", jobs.most());
                assert!(sums.most() <= THREADS, "{} sums ran at a time", sums.most());
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
            fill(&bench).await;
            close(&bench).await;
            let (_, broker) = bench.adversary(Manners { lost_leases: 500, ..Manners::HOSTILE }, seed);
            let describe = |builder: WorkerBuilder| {
                small(builder).until_ended(true).observer(Arc::clone(&chaperon) as Arc<dyn Observer>)
            };
            let mut worker = start(broker, app(&Gauge::default(), &Gauge::default()), describe);
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
        let (bench, runs) = (Bench::new(), Log::new());
        fill(&bench).await;
        close(&bench).await;
        bench.close("steps").await;
        let log = runs.clone();
        let app = app(&Gauge::default(), &Gauge::default()).handle(move |Step(n), _| {
            log.add(n);
            std::future::ready(Ok(()))
        });
        let (_, broker) = bench.adversary(Manners::HOSTILE, seed);
        let mut worker = start(broker, app, |builder| small(builder).until_ended(true));
        assert_eq!(worker.end().await.unwrap().strays, 0);
        let mut all_dead = 0;
        for name in ["jobs", "sums", "steps"] {
            let [ready, scheduled, leased, dead] = bench.counts(name).await;
            assert_eq!([ready, scheduled, leased], [0; 3], "tasks of {name} that are left behind");
            all_dead += dead;
        }
        let steps: BTreeSet<_> = runs.all().into_iter().collect();
        let ends = steps.len() as u64 + all_dead;
        // A step that died may have run before it did.
        assert!(ends >= u64::from(JOBS + SUMS), "steps that ran: {steps:?}; dead in all: {all_dead}");
    })
    .await;
}

/// Whatever became of a slot's task, the slot is free again: when the adversary is quiet, all of them are used at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_slot_is_lost() {
    on_seeds(200, |seed| async move {
        let (bench, gate, late) = (Bench::new(), Gate::new(), Gauge::default());
        fill(&bench).await;
        let (adversary, broker) = bench.adversary(Manners::HOSTILE, seed);
        let (pass, gauge, sums) = (gate.clone(), late.clone(), Gauge::default());
        let app = app(&Gauge::default(), &sums).handle(move |Step(_), _| {
            let (gate, inside) = (pass.clone(), gauge.enter());
            async move {
                let _inside = inside;
                gate.pass().await;
                Ok(())
            }
        });
        let queues = ["jobs", "sums"].map(|name| (queue(name), 1)).to_vec();
        let mut worker = start(broker, app, |builder| small(builder).queues(queues));
        let settled = async {
            while [bench.counts("jobs").await, bench.counts("sums").await].iter().any(|of| of[..3] != [0; 3])
            {
                let changed = bench.broker.wait(&[queue("jobs"), queue("sums")]);
                let _ = tokio::time::timeout(LEASE / 10, changed).await;
            }
        };
        soon("all is settled", settled).await;
        all_are_settled(&bench).await;
        adversary.set_manners(Manners::QUIET);
        let many = u32::try_from(SLOTS).unwrap();
        let [.., dead] = bench.counts("jobs").await;
        bench.send((0..2 * many).map(|n| new(Step(n), 100 + n).on(queue("jobs")))).await;
        late.until(SLOTS).await;
        bench.send((0..3).map(|n| new(Sum(ENDLESS), 100 + n))).await;
        sums.until(THREADS).await;
        gate.open(2 * SLOTS);
        bench.until("jobs", [0, 0, 0, dead]).await;
        assert_eq!((late.most(), sums.most()), (SLOTS, THREADS));
        worker.shutdown.abort();
        assert_eq!(worker.end().await.unwrap().strays, 0);
    })
    .await;
}

/// Orders come at any time, and the broker does not make it easy to obey. What is left is there for others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_told_to_end_ends_and_leaves_all_that_it_did_not_settle() {
    on_seeds(200, |seed| async move {
        let (bench, jobs, sums) = (Bench::new(), Gauge::default(), Gauge::default());
        fill(&bench).await;
        let (_, broker) = bench.adversary(Manners::HOSTILE, seed);
        let mut worker = start(broker, app(&jobs, &sums), small);
        for _ in 0..seed % 5 {
            worker.event().await;
        }
        if seed % 2 == 0 {
            worker.shutdown.stop();
        } else {
            worker.shutdown.abort();
        }
        assert_eq!(worker.end().await.unwrap().strays, 0);
        assert_eq!((jobs.inside(), sums.inside()), (0, 0), "handlers that still run");
        drop(worker);
        // The session's end, soon after: the thread of the beats may still have it.
        let mut rest = start(bench.process(), app(&jobs, &sums), |builder| builder.until_ended(true));
        close(&bench).await;
        rest.end().await.unwrap();
        all_are_settled(&bench).await;
    })
    .await;
}
