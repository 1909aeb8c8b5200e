//! What becomes of a task by how its handler ends, and what is refused before any handler runs.

use std::{error::Error, fmt, future, io, sync::Arc, time::Duration};

use manyhands_broker::{
    ErrorKind, NewTask, Payload, QueueOptions, Settled, TaskId, TaskName, clock::ManualClock,
    limits::MAX_BATCH,
};
use manyhands_worker::{App, Context, Ending, Shutdown, Task, TaskError, Worker};
use serde::{Deserialize, Serialize};

use crate::support::{
    Bench, Event, Job, Log, Step, Sum, World, claim, claim_one, job, new, on_both, queue, start, sum,
};

on_both! {
    a_completed_task_is_gone_and_its_children_are_enqueued,
    children_of_a_failed_run_are_not_enqueued,
    a_child_too_many_is_refused_when_it_is_handed_on,
    a_failed_handler_is_tried_again_after_a_second_or_so,
    failures_are_counted_and_the_last_attempt_is_dead,
    a_buried_task_is_dead_at_once,
    a_panic_is_a_failure_like_others,
    a_payload_that_the_handler_does_not_expect_is_dead_at_once,
    a_task_of_an_unknown_name_is_parked_and_never_dropped,
    the_fence_grows_from_run_to_run,
    a_handler_knows_its_task,
}

async fn a_completed_task_is_gone_and_its_children_are_enqueued(world: World) {
    let bench = world.bench();
    let app = App::new().handle(async |Job(n), ctx| {
        ctx.then(Step(n + 1))?;
        ctx.then_task(new(Step(n + 2), 77).on(queue("other")))?;
        Ok(())
    });
    let mut worker = start(bench.session(), app, |builder| builder);
    bench.send([job(1)]).await;
    assert_eq!(worker.event().await, Event::Started("1".to_owned()));
    assert_eq!(worker.event().await, Event::Ended("1".to_owned(), Ending::Completed));
    assert_eq!(worker.event().await, Event::Settled("1".to_owned(), Settled::Settled));
    assert_eq!(bench.counts("jobs").await, [0; 4]);
    let child = claim_one(&*bench.broker, "steps").await;
    assert_eq!((child.name.as_str(), child.payload.as_str()), ("step", "2"));
    let child = claim_one(&*bench.broker, "other").await;
    assert_eq!((child.lease.id.to_string().as_str(), child.payload.as_str()), ("77", "3"));
    worker.stop().await;
}

/// A run leaves its children in the settlement only, so one that failed leaves none, and none to the next run.
async fn children_of_a_failed_run_are_not_enqueued(world: World) {
    let bench = world.bench();
    let app = App::new().handle(async |Job(n), ctx| {
        ctx.then(Step(n))?;
        match (n, ctx.attempt()) {
            (1, 1) => Err(TaskError::retry("not yet").after(Duration::ZERO)),
            (2, 1) => panic!("half done"),
            (3, _) => Err(TaskError::bury("never")),
            _ => Ok(()),
        }
    });
    let mut worker = start(bench.session(), app, |builder| builder);
    bench.send([job(1), job(2).with_max_attempts(1), job(3)]).await;
    for _ in 0..4 {
        worker.settled().await;
    }
    assert_eq!(bench.counts("jobs").await, [0, 0, 0, 2], "1 is done, 2 and 3 are dead");
    let children = claim(&*bench.broker, "steps", 9).await;
    let payloads: Vec<_> = children.iter().map(|child| child.payload.as_str()).collect();
    assert_eq!(payloads, ["1"], "only of the run that completed");
    worker.stop().await;
}

/// The bounds of a settlement are told to the handler, not to the broker, which could only refuse all of it.
async fn a_child_too_many_is_refused_when_it_is_handed_on(world: World) {
    let bench = world.bench();
    let app = App::new().handle(async |Job(_), ctx| {
        for n in 0..=u32::try_from(MAX_BATCH).unwrap() {
            ctx.then(Step(n))?;
        }
        Ok(())
    });
    let mut worker = start(bench.session(), app, |builder| builder);
    bench.send([job(1)]).await;
    let (_, ending) = worker.ended().await;
    assert!(
        matches!(&ending, Ending::Buried(reason) if reason.contains("at most 256 tasks")),
        "it ended by {ending:?}"
    );
    worker.settled().await;
    assert_eq!((bench.counts("jobs").await, bench.counts("steps").await), ([0, 0, 0, 1], [0; 4]));
    worker.stop().await;
}

#[derive(Debug)]
struct Unreadable(io::Error);

impl Error for Unreadable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the file cannot be read")
    }
}

async fn a_failed_handler_is_tried_again_after_a_second_or_so(world: World) {
    let clock = ManualClock::default();
    let bench = world.bench_with_clock(&clock);
    let app = App::new().handle(async |Job(_), _| {
        Err(Unreadable(io::Error::new(io::ErrorKind::NotFound, "no such folder")))?;
        Ok(())
    });
    let mut worker = start(bench.session(), app, |builder| builder);
    bench.send([job(1)]).await;
    let (_, ending) = worker.ended().await;
    let Ending::Retried(reason, delay) = ending else { panic!("it ended by {ending:?}") };
    assert_eq!(reason, "the file cannot be read: no such folder");
    assert!((750..=1250).contains(&delay.as_millis()), "it is tried again after {delay:?}");
    worker.settled().await;
    assert_eq!(bench.counts("jobs").await, [0, 1, 0, 0], "it is scheduled");
    worker.stop().await;

    // What the broker does with it is what the observer was told.
    clock.advance(Duration::from_millis(u64::try_from(delay.as_millis()).unwrap() - 1));
    assert_eq!(claim(&*bench.broker, "jobs", 1).await, [], "not a millisecond too early");
    clock.advance(Duration::from_millis(1));
    assert_eq!(claim_one(&*bench.broker, "jobs").await.attempts, 1);
}

async fn failures_are_counted_and_the_last_attempt_is_dead(world: World) {
    let (bench, attempts) = (world.bench(), Log::new());
    let log = attempts.clone();
    let app = App::new().handle(move |Job(_), ctx: Context| {
        log.add(ctx.attempt());
        future::ready(Err(TaskError::retry("no").after(Duration::ZERO)))
    });
    let mut worker = start(bench.session(), app, |builder| builder);
    bench.send([job(1).with_max_attempts(3)]).await;
    let again = Ending::Retried("no".to_owned(), Duration::ZERO);
    for ending in [again.clone(), again, Ending::Buried("no".to_owned())] {
        assert_eq!(worker.ended().await.1, ending);
        assert_eq!(worker.settled().await.1, Settled::Settled);
    }
    assert_eq!(attempts.all(), [1, 2, 3]);
    assert_eq!(bench.counts("jobs").await, [0, 0, 0, 1]);
    worker.stop().await;
}

async fn a_buried_task_is_dead_at_once(world: World) {
    let bench = world.bench();
    let app = App::new().handle(async |Job(_), _| Err(TaskError::bury("no such page").after(Duration::ZERO)));
    let mut worker = start(bench.session(), app, |builder| builder);
    bench.send([job(1)]).await;
    assert_eq!(worker.ended().await.1, Ending::Buried("no such page".to_owned()));
    worker.settled().await;
    assert_eq!(bench.counts("jobs").await, [0, 0, 0, 1]);
    worker.stop().await;
}

/// A handler that is no async function can panic before there is a future.
fn eager(Step(n): Step, _: Context) -> future::Ready<Result<(), TaskError>> {
    assert!(n != 0, "step 0");
    future::ready(Ok(()))
}

/// A panic of any handler, anywhere in it, with any value, is a failure; the worker and its slots outlive it.
async fn a_panic_is_a_failure_like_others(world: World) {
    let bench = world.bench();
    let job_handler = async |Job(n), _: Context| {
        tokio::task::yield_now().await;
        match n {
            0 => panic!("job {n}"),
            1 => std::panic::panic_any(n),
            _ => Ok(()),
        }
    };
    let sum_handler = |Sum(n), _: &Context| {
        assert!(n != 0, "sum 0");
        Ok(())
    };
    let app = App::new().handle(job_handler).handle(eager).handle_blocking(sum_handler);
    // One slot of a kind: if a panic kept it, nothing would run after it.
    let mut worker = start(bench.session(), app, |builder| builder.concurrency(1).threads(1));
    let panics = [(job(0), "job 0"), (job(1), "no message"), (new(Step(0), 0), "step 0"), (sum(0), "sum 0")];
    for (task, message) in panics {
        let (queue, id) = (task.queue.clone(), task.id.clone());
        bench.send([task]).await;
        let (_, ending) = worker.ended().await;
        let Ending::Retried(reason, delay) = ending else { panic!("it ended by {ending:?}") };
        assert_eq!(reason, format!("the handler panicked: {message}"));
        assert!((750..=1250).contains(&delay.as_millis()), "it is tried again after {delay:?}");
        worker.settled().await;
        // Else it would be tried again in the middle of what follows, where that takes so long.
        bench.broker.cancel(&queue, &[id]).await.unwrap();
    }
    for task in [job(7), new(Step(7), 7), sum(7)] {
        bench.send([task]).await;
        assert_eq!(worker.ended().await, ("7".to_owned(), Ending::Completed));
    }
    worker.stop().await;
}

/// It never will be what the handler expects, however often it is tried.
async fn a_payload_that_the_handler_does_not_expect_is_dead_at_once(world: World) {
    let bench = world.bench();
    let runs = Log::new();
    let (jobs, sums) = (runs.clone(), runs.clone());
    let app = App::new()
        .handle(move |Job(n), _| {
            jobs.add(n);
            future::ready(Ok(()))
        })
        .handle_blocking(move |Sum(n), _| {
            sums.add(n);
            Ok(())
        });
    let mut worker = start(bench.session(), app, |builder| builder);
    for (name, at) in [("job", "jobs"), ("sum", "sums")] {
        let text = Payload::from_json("{\"number\": 1}").unwrap();
        bench.send([NewTask::new(queue(at), TaskName::new(name).unwrap(), text)]).await;
        let (_, ending) = worker.ended().await;
        let Ending::Buried(reason) = ending else { panic!("it ended by {ending:?}") };
        assert!(reason.starts_with("the payload is not what the handler expects: "), "the reason: {reason}");
        worker.settled().await;
        assert_eq!(bench.counts(at).await, [0, 0, 0, 1]);
    }
    assert!(runs.all().is_empty(), "handlers ran");
    worker.stop().await;
}

/// A newer producer, or a queue that is served by several kinds of workers: another may know the name.
async fn a_task_of_an_unknown_name_is_parked_and_never_dropped(world: World) {
    let clock = ManualClock::default();
    let bench = world.bench_with_clock(&clock);
    let app = App::new().handle(async |Job(_), _| Ok(()));
    let mut worker = start(bench.session(), app, |builder| builder);
    bench.send([new(Step(1), 1).on(queue("jobs")).with_max_attempts(1)]).await;
    for pause in [0, 1, 2] {
        clock.advance(Duration::from_secs(pause));
        bench.ring().await;
        assert_eq!(worker.ended().await.1, Ending::Parked);
        assert_eq!(worker.settled().await.1, Settled::Settled);
        assert_eq!(bench.counts("jobs").await, [0, 1, 0, 0], "it is scheduled");
    }
    worker.stop().await;
    clock.advance(Duration::from_secs(60));
    let task = claim_one(&*bench.broker, "jobs").await;
    assert_eq!((task.lease.id, task.attempts), (TaskId::new("1").unwrap(), 0));
}

async fn the_fence_grows_from_run_to_run(world: World) {
    let (bench, fences) = (world.bench(), Log::new());
    let log = fences.clone();
    let app = App::new().handle(move |Job(_), ctx: Context| {
        log.add(ctx.fence());
        future::ready(Err(TaskError::retry("again").after(Duration::ZERO)))
    });
    // The first claim is that of a process that dies.
    bench.send([job(1).with_max_attempts(3)]).await;
    let other = bench.process();
    fences.add(claim_one(&*other, "jobs").await.lease.epoch);
    drop(other);
    let mut worker = start(bench.session(), app, |builder| builder);
    for _ in 0..3 {
        worker.settled().await;
    }
    let fences = fences.all();
    assert_eq!(fences.len(), 4);
    assert!(fences.is_sorted_by(|one, next| one < next), "the fences were {fences:?}");
    worker.stop().await;
}

async fn a_handler_knows_its_task(world: World) {
    let (bench, seen) = (world.bench(), Log::new());
    let log = seen.clone();
    let app = App::new().handle(move |task: Job, ctx: Context| {
        log.add((task, ctx.id().to_string(), ctx.queue().to_string(), ctx.attempt(), ctx.cancelled()));
        future::ready(Ok(()))
    });
    let mut worker = start(bench.session(), app, |builder| builder.queues(vec![(queue("urgent"), 1)]));
    bench.send([new(Job(5), 6).on(queue("urgent"))]).await;
    worker.settled().await;
    assert_eq!(seen.all(), [(Job(5), "6".to_owned(), "urgent".to_owned(), 1, false)]);
    worker.stop().await;
}

#[derive(Serialize, Deserialize)]
struct BadName;

impl Task for BadName {
    const NAME: &'static str = "bad name";
    type Output = ();
}

#[derive(Serialize, Deserialize)]
struct BadQueue;

impl Task for BadQueue {
    const NAME: &'static str = "fine";
    const QUEUE: &'static str = "a/b";
    type Output = ();
}

#[derive(Serialize, Deserialize)]
struct OtherJob;

impl Task for OtherJob {
    const NAME: &'static str = Job::NAME;
    const QUEUE: &'static str = "elsewhere";
    type Output = ();
}

async fn idle<T>(_: T, _: Context) -> Result<(), TaskError> {
    Ok(())
}

// Nothing is asked of the broker.
#[tokio::test]
async fn what_cannot_work_is_refused_when_the_worker_is_built() {
    let bench = Bench::new();
    let good = || App::new().handle(idle::<Job>);
    let describe = |app| Worker::builder(Arc::clone(&bench.broker)).app(app);
    let (ms, day) = (Duration::from_millis, Duration::from_secs(24 * 3600));
    for (message, builder) in [
        ("no handler", Worker::builder(Arc::clone(&bench.broker))),
        ("two handlers", describe(good().handle(idle::<Job>))),
        ("two handlers", describe(good().handle(idle::<OtherJob>))),
        ("two handlers", describe(good().handle_blocking(|_: OtherJob, _| Ok(())))),
        ("\"bad name\"", describe(good().handle(idle::<BadName>))),
        ("\"a/b\"", describe(good().handle(idle::<BadQueue>))),
        ("\"a b\"", describe(good().queue("a b", QueueOptions::default()))),
        ("\"c d\"", describe(good().feeds("jobs", "c d"))),
        ("async", describe(good()).concurrency(0)),
        ("async", describe(good()).concurrency(10_001)),
        ("blocking", describe(good()).threads(0)),
        ("weight 0", describe(good()).queues(vec![(queue("jobs"), 1), (queue("later"), 0)])),
        ("lease", describe(good()).lease(ms(99))),
        ("lease", describe(good()).lease(day + ms(1))),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.report().contains(message), "\"{}\" says nothing of {message}", error.report());
    }
    for builder in [
        describe(good()),
        describe(good()).concurrency(10_000).threads(1).lease(ms(100)),
        describe(good()).lease(day),
    ] {
        assert!(builder.build().is_ok());
    }
}

/// Workers of different versions that configure a queue differently must not take turns in doing so.
// An adversary may refuse, and a worker that is told to stop does not ask again.
#[tokio::test]
async fn a_worker_declares_its_queues_and_does_not_run_on_those_of_others() {
    let bench = Bench::new();
    let run = async |capacity: u64| {
        let options = QueueOptions::default().with_capacity(capacity);
        let app = App::new().handle(idle::<Job>).queue("jobs", options);
        let shutdown = Shutdown::new();
        shutdown.stop();
        Worker::builder(bench.session()).app(app).build().unwrap().run(&shutdown).await
    };
    assert_eq!(run(5).await.unwrap().strays, 0);
    assert_eq!(run(6).await.unwrap_err().kind(), ErrorKind::Conflict);
    let status = bench.broker.status(&queue("jobs")).await.unwrap().unwrap();
    assert_eq!(status.options.capacity, 5);
}
