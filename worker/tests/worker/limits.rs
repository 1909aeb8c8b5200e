//! How long one run may take, where who sent the task said so.

use std::time::Duration;

use manyhands_broker::Settled;
use manyhands_worker::{App, Context, Ending, TaskError};

use crate::support::{Job, Log, OnDrop, Sum, World, job, listen, on_both, soon, start, sum};

on_both! {
    a_future_is_dropped_at_the_limit_and_has_failed,
    a_thread_is_told_at_the_limit_and_has_failed,
    a_thread_that_completes_all_the_same_has_completed,
    who_is_done_in_time_is_not_concerned,
    what_the_broker_would_take_away_is_stopped_before,
    who_hands_on_what_may_run_for_too_long_is_told_at_once,
}

/// What only a handler reaches that never ends by itself.
const SHORT: Duration = Duration::from_millis(20);

const HOUR: Duration = Duration::from_secs(3600);

fn over() -> String {
    "it ran for longer than its limit of 20ms".to_owned()
}

async fn a_future_is_dropped_at_the_limit_and_has_failed(world: World) {
    let (bench, dropped) = (world.bench(), Log::new());
    let log = dropped.clone();
    let app = App::new().handle(move |Job(n), _| {
        let log = log.clone();
        async move {
            let _guard = OnDrop::new(move || log.add(n));
            std::future::pending::<Result<(), TaskError>>().await
        }
    });
    bench.send([job(1).with_run_limit(SHORT).with_max_attempts(1)]).await;
    let mut worker = start(bench.session(), app, |builder| builder);
    assert_eq!(worker.ended().await, ("1".to_owned(), Ending::Buried(over())));
    assert_eq!(dropped.all(), [1]);
    assert_eq!(worker.settled().await.1, Settled::Settled);
    assert_eq!(bench.counts("jobs").await, [0, 0, 0, 1]);
    worker.stop().await;
}

/// Sums that wait until they are told to stop, and then end so.
fn listening(end: fn() -> Result<(), TaskError>) -> App {
    App::new().handle_blocking(move |Sum(_), ctx: &Context| {
        assert!(listen(ctx), "nobody told it");
        end()
    })
}

async fn a_thread_is_told_at_the_limit_and_has_failed(world: World) {
    let bench = world.bench();
    bench.send([sum(1).with_run_limit(SHORT).with_max_attempts(2)]).await;
    let app = listening(|| Err(TaskError::retry("stopped")));
    let mut worker = start(bench.session(), app, |builder| builder);
    let (_, ending) = worker.ended().await;
    assert!(matches!(&ending, Ending::Retried(error, _) if *error == over()), "{ending:?}");
    worker.settled().await;
    assert_eq!(bench.counts("sums").await, [0, 1, 0, 0]);
    worker.stop().await;
}

async fn a_thread_that_completes_all_the_same_has_completed(world: World) {
    let bench = world.bench();
    bench.send([sum(1).with_run_limit(SHORT)]).await;
    let mut worker = start(bench.session(), listening(|| Ok(())), |builder| builder);
    assert_eq!(worker.ended().await.1, Ending::Completed);
    worker.settled().await;
    assert_eq!(bench.counts("sums").await, [0, 0, 0, 0]);
    worker.stop().await;
}

/// Whoever sent it said nothing, or allowed more.
async fn what_the_broker_would_take_away_is_stopped_before(world: World) {
    let bench = world.bench();
    let flaky = bench.flaky();
    flaky.let_run_for(SHORT);
    let once = |n| job(n).with_max_attempts(1);
    bench.send([once(1), once(2).with_run_limit(HOUR)]).await;
    let app = App::new().handle(|Job(_), _| std::future::pending::<Result<(), TaskError>>());
    let mut worker = start(flaky, app, |builder| builder);
    for _ in 0..2 {
        assert_eq!(worker.ended().await.1, Ending::Buried(over()));
    }
    worker.stop().await;
}

/// With the settlement it would be refused, after all of the work.
async fn who_hands_on_what_may_run_for_too_long_is_told_at_once(world: World) {
    let (bench, told) = (world.bench(), Log::new());
    let flaky = bench.flaky();
    flaky.let_run_for(HOUR);
    let log = told.clone();
    let app = App::new().handle(move |Job(n), ctx: Context| {
        let log = log.clone();
        async move {
            // The limit itself is allowed.
            ctx.then_task(sum(10 + n).with_run_limit(HOUR))?;
            let refused = ctx.then_task(sum(20 + n).with_run_limit(HOUR * (n + 1)));
            log.add(u32::from(refused.is_err()));
            refused
        }
    });
    bench.send([job(1)]).await;
    let mut worker = start(flaky, app, |builder| builder);
    let (_, ending) = worker.ended().await;
    let Ending::Buried(error) = ending else { panic!("{ending:?}") };
    assert!(
        error.contains("queue \"sums\" has a run_limit of 2h, and a run of 1h is the longest"),
        "{error}"
    );
    assert_eq!(told.all(), [1], "in the handler");
    assert_eq!(worker.settled().await.1, Settled::Settled);
    assert_eq!((bench.counts("jobs").await, bench.counts("sums").await), ([0, 0, 0, 1], [0, 0, 0, 0]));
    worker.stop().await;
}

async fn who_is_done_in_time_is_not_concerned(world: World) {
    let bench = world.bench();
    bench.send([job(1).with_run_limit(HOUR), sum(2).with_run_limit(HOUR)]).await;
    let app = App::new().handle(|Job(_), _| async { Ok(()) }).handle_blocking(|Sum(_), _: &Context| Ok(()));
    let mut worker = start(bench.session(), app, |builder| builder);
    for _ in 0..2 {
        assert_eq!(soon("an end", worker.ended()).await.1, Ending::Completed);
    }
    worker.stop().await;
}
