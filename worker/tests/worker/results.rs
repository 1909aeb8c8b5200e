//! What comes of a handler besides its ending: its result, and tasks for which there must be room; and what stops it.

use std::time::Duration;

use manyhands_broker::{
    BatchName, BrokerExt, Cancel, Enqueued, NewTask, Outcome, Payload, QueueOptions, Settled, TaskId, Wanted,
    limits,
};
use manyhands_worker::{App, Context, Ending, Task, TaskError};
use serde::{Deserialize, Serialize};

use crate::support::{
    AWAY, Bench, Flaky, Gate, Job, Log, Mode, PATIENCE, Step, Sum, claim_one, complete, job, let_others_run,
    listen, new, queue, start, sum,
};

/// A task with a result: so many letters.
#[derive(Serialize, Deserialize)]
struct Letters(usize);

impl Task for Letters {
    const NAME: &'static str = "letters";
    const QUEUE: &'static str = "letters";
    type Output = String;
}

/// As a task on a thread.
#[derive(Serialize, Deserialize)]
struct Square(u64);

impl Task for Square {
    const NAME: &'static str = "square";
    const QUEUE: &'static str = "squares";
    type Output = u64;
}

fn id(number: u32) -> TaskId {
    TaskId::new(&number.to_string()).unwrap()
}

fn wanted(task: NewTask) -> NewTask {
    task.with_result(Wanted::Keep(Duration::from_secs(60)))
}

async fn outcome(bench: &Bench, name: &str, number: u32) -> Outcome {
    bench.broker.outcome(&queue(name), &id(number), PATIENCE).await.unwrap()
}

/// What the broker says at once.
async fn outcome_now(bench: &Bench, name: &str, number: u32) -> Outcome {
    bench.broker.outcomes(&queue(name), &[id(number)]).await.unwrap().remove(0)
}

#[tokio::test]
async fn a_wanted_result_is_kept() {
    let (bench, asked) = (Bench::new(), Log::new());
    let log = asked.clone();
    let app = App::new().handle(async |Letters(n), _| Ok("x".repeat(n))).handle_blocking(
        move |Square(n), ctx: &Context| {
            log.add((n, ctx.result_wanted()));
            Ok(n * n)
        },
    );
    let worker = start(bench.session(), app, |builder| builder);
    bench.send([wanted(new(Letters(3), 1)), wanted(new(Square(12), 2)), new(Square(5), 3)]).await;
    assert_eq!(outcome(&bench, "letters", 1).await, Outcome::Done(Payload::encode("xxx").unwrap()));
    assert_eq!(outcome(&bench, "squares", 2).await, Outcome::Done(Payload::encode(&144).unwrap()));
    assert_eq!(outcome(&bench, "squares", 3).await, Outcome::Unknown, "nobody wants it");
    let mut asked = asked.all();
    // They run side by side.
    asked.sort_unstable();
    assert_eq!(asked, [(5, false), (12, true)]);
    worker.stop().await;
}

/// Running it again would not make it smaller.
#[tokio::test]
async fn a_result_that_is_too_large_buries_its_task_if_it_is_wanted() {
    let bench = Bench::new();
    let app = App::new().handle(async |Letters(n), _| Ok("x".repeat(n)));
    let mut worker = start(bench.session(), app, |builder| builder);
    // Two quotation marks make it too large.
    let large = limits::MAX_PAYLOAD - 1;
    bench
        .send([wanted(new(Letters(large), 1)), wanted(new(Letters(large - 1), 2)), new(Letters(large), 3)])
        .await;
    for _ in 0..3 {
        worker.settled().await;
    }
    let Outcome::Dead(error) = outcome(&bench, "letters", 1).await else { panic!("it is not dead") };
    assert!(error.contains("1048577 bytes") && error.contains("it ran"), "{error}");
    assert!(matches!(outcome(&bench, "letters", 2).await, Outcome::Done(_)));
    assert_eq!(bench.counts("letters").await, [0, 0, 0, 1]);
    worker.stop().await;
}

/// The worker hears of it by its next beat.
#[tokio::test]
async fn a_cancelled_task_is_stopped_and_gone() {
    let (bench, gate, told) = (Bench::new(), Gate::new(), Log::new());
    let (pass, log) = (gate.clone(), told.clone());
    let app = App::new()
        .handle(move |Job(_), _| {
            let pass = pass.clone();
            async move {
                pass.pass().await;
                Ok(())
            }
        })
        .handle_blocking(move |Sum(_), ctx: &Context| {
            log.add(listen(ctx));
            Err(TaskError::retry("stopped"))
        });
    let lease = Duration::from_millis(300);
    let mut worker = start(bench.session(), app, |builder| builder.lease(lease));
    bench.send([wanted(job(1)), wanted(sum(2))]).await;
    worker.started().await;
    worker.started().await;
    for (name, number) in [("jobs", 1), ("sums", 2)] {
        assert_eq!(bench.broker.cancel(&queue(name), &[id(number)]).await.unwrap(), [Cancel::Asked]);
        assert_eq!(worker.ended().await, (number.to_string(), Ending::Cancelled));
        assert_eq!(worker.settled().await, (number.to_string(), Settled::Settled));
        assert_eq!(outcome(&bench, name, number).await, Outcome::Cancelled);
        assert_eq!(bench.counts(name).await, [0; 4]);
    }
    assert_eq!(told.all(), [true]);
    worker.stop().await;
}

/// Whoever puts tasks one by one waits for room each time, so the bound holds exactly.
#[tokio::test]
async fn a_handler_waits_for_room() {
    let (bench, put) = (Bench::new(), Log::new());
    let steps = queue("steps");
    let options = QueueOptions::default().with_capacity(2);
    bench.broker.declare(&steps, Some(&options)).await.unwrap();
    let log = put.clone();
    let app = App::new()
        .handle(move |Job(n), ctx: Context| {
            let log = log.clone();
            async move {
                for step in 0..4 {
                    log.add(ctx.put(new(Step(step), n + step)).await?);
                }
                Ok(())
            }
        })
        .handle_blocking(|Sum(n), ctx: &Context| ctx.put_blocking(new(Step(n), n)).map(drop));
    let mut worker = start(bench.session(), app, |builder| builder);
    bench.send([job(10)]).await;
    worker.started().await;
    for step in 0..4 {
        bench.until("steps", [2.min(4 - step), 0, 0, 0]).await;
        let task = claim_one(&*bench.broker, "steps").await;
        assert_eq!(task.payload.as_str(), step.to_string());
        assert_eq!(complete(&*bench.broker, &task, Vec::new()).await, Settled::Settled);
    }
    assert_eq!(worker.ended().await, ("10".to_owned(), Ending::Completed));
    assert_eq!(put.all(), vec![Enqueued::Enqueued; 4]);
    bench.send([sum(20)]).await;
    assert_eq!(worker.ended().await, ("20".to_owned(), Ending::Completed));
    assert_eq!(bench.counts("steps").await, [1, 0, 0, 0]);
    worker.stop().await;
}

/// Nor does it wait for ever: not for a closed queue, and not when it is told to stop.
#[tokio::test]
async fn a_handler_that_waits_for_room_can_be_stopped() {
    let bench = Bench::new();
    let options = QueueOptions::default().with_capacity(1);
    for name in ["steps", "closed"] {
        bench.broker.declare(&queue(name), Some(&options)).await.unwrap();
    }
    bench.close("closed").await;
    bench.send([new(Step(0), 0)]).await;
    let app = App::new()
        .handle(async |Job(n), ctx: Context| {
            let next = if n == 1 { "closed" } else { "steps" };
            ctx.put(new(Step(n), n).on(queue(next))).await.map(drop)
        })
        .handle_blocking(|Sum(n), ctx: &Context| ctx.put_blocking(new(Step(n), n)).map(drop));
    let mut worker = start(bench.session(), app, |builder| builder);
    bench.send([job(1)]).await;
    let (_, ending) = worker.ended().await;
    assert!(matches!(&ending, Ending::Buried(error) if error.contains("\"closed\"")), "{ending:?}");
    bench.send([job(2), sum(3)]).await;
    worker.started().await;
    worker.started().await;
    worker.shutdown.abort();
    worker.end().await.unwrap();
    assert_eq!(bench.counts("jobs").await, [1, 0, 0, 1], "given back");
    assert_eq!(bench.counts("sums").await, [1, 0, 0, 0], "given back");
    assert_eq!(bench.counts("steps").await, [1, 0, 0, 0]);
}

/// Tells its progress, step by step, and fails in the end.
fn step_by_step(gate: &Gate) -> App {
    let gate = gate.clone();
    App::new().handle(move |Job(n), ctx: Context| {
        let gate = gate.clone();
        async move {
            for done in 1..=n {
                ctx.progress(&done)?;
                gate.pass().await;
            }
            Err(TaskError::retry("not yet").after(Duration::from_secs(600)))
        }
    })
}

fn told(progress: u32) -> Outcome {
    let progress = (progress > 0).then(|| Payload::encode(&progress).unwrap());
    Outcome::Pending { progress }
}

/// The outcome of a job as soon as a beat has made it another one than `before`. The first renewal, which tells nothing, may be
/// among the beats.
async fn after_a_beat(bench: &Bench, flaky: &Flaky, number: u32, before: Outcome) -> Outcome {
    let mut answered = 0;
    loop {
        answered += 1;
        flaky.beats.until_answered(answered).await;
        let outcome = outcome_now(bench, "jobs", number).await;
        if outcome != before {
            return outcome;
        }
    }
}

/// Nobody would wait for the next renewal of such a lease: all beats are those that tell progress.
const LONG: Duration = Duration::from_secs(3600);

/// Whoever asks hears how far a handler is, soon and not only when leases are renewed; and no more when it is over.
#[tokio::test]
async fn progress_is_told_to_whoever_asks() {
    let (bench, gate) = (Bench::new(), Gate::new());
    let flaky = bench.flaky();
    let mut worker = start(flaky.clone(), step_by_step(&gate), |builder| builder.lease(LONG));
    bench.send([job(2)]).await;
    for done in 1..=2 {
        assert_eq!(after_a_beat(&bench, &flaky, 2, told(done - 1)).await, told(done));
        gate.open(1);
    }
    worker.settled().await;
    assert_eq!(
        outcome_now(&bench, "jobs", 2).await,
        Outcome::Pending { progress: None },
        "between two attempts"
    );
    worker.stop().await;
}

/// What could not be told is told later; and of what was said meanwhile only the last.
#[tokio::test]
async fn progress_that_could_not_be_told_is_told_later() {
    let (bench, gate) = (Bench::new(), Gate::new());
    let flaky = bench.flaky();
    let mut worker = start(flaky.clone(), step_by_step(&gate), |builder| builder.lease(LONG));
    flaky.beats.go(AWAY);
    bench.send([job(9)]).await;
    flaky.beats.until_answered(1).await;
    assert_eq!(outcome_now(&bench, "jobs", 9).await, told(0));
    gate.open(2);
    let_others_run().await;
    flaky.beats.go(Mode::Well);
    assert_eq!(after_a_beat(&bench, &flaky, 9, told(0)).await, told(3));
    worker.shutdown.abort();
    worker.end().await.unwrap();
}

/// Two quotation marks make it too large.
#[tokio::test]
async fn progress_that_is_too_large_buries_its_task() {
    let bench = Bench::new();
    let app = App::new().handle_blocking(|Sum(n), ctx: &Context| ctx.progress(&"x".repeat(n as usize)));
    let mut worker = start(bench.session(), app, |builder| builder);
    bench.send([sum(limits::MAX_PROGRESS as u32 - 1), sum(limits::MAX_PROGRESS as u32 - 2)]).await;
    let mut endings = [worker.ended().await.1, worker.ended().await.1];
    endings.sort_by_key(|ending| *ending == Ending::Completed);
    assert!(matches!(&endings[0], Ending::Buried(error) if error.contains("4097")), "{endings:?}");
    assert_eq!(endings[1], Ending::Completed);
    worker.stop().await;
}

/// What a task hands on belongs to its batch, so that the batch goes on, whichever way it is handed on.
#[tokio::test]
async fn what_is_handed_on_stays_in_the_batch() {
    let bench = Bench::new();
    let name = |text: &str| BatchName::new(text).unwrap();
    let app = App::new().handle(async |Job(n), ctx: Context| {
        assert_eq!(ctx.batch().map(BatchName::as_str), (n < 5).then_some("b"));
        ctx.then(Step(n))?;
        ctx.then_task(new(Step(n + 1), n + 1).in_batch(BatchName::new("other")?))?;
        ctx.put(new(Step(n + 2), n + 2)).await.map(drop)
    });
    let mut worker = start(bench.session(), app, |builder| builder);
    bench.send([job(1).in_batch(name("b")), job(5)]).await;
    worker.settled().await;
    worker.settled().await;
    worker.stop().await;
    let mut found = Vec::new();
    for _ in 0..6 {
        let task = claim_one(&*bench.broker, "steps").await;
        found.push((task.payload.as_str().to_owned(), task.batch.map(|batch| batch.to_string())));
    }
    found.sort();
    let batch = |name: &str| Some(name.to_owned());
    let expected = [
        ("1", batch("b")),
        ("2", batch("other")),
        ("3", batch("b")),
        ("5", None),
        ("6", batch("other")),
        ("7", None),
    ];
    assert_eq!(found, expected.map(|(payload, batch)| (payload.to_owned(), batch)));
}
