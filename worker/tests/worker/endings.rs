//! How a worker ends: with its queues, when told to stop, at once, or by an error.

use std::{ops::AsyncFnOnce, sync::Arc, time::Duration};

use manyhands_broker::{ErrorKind, Settled};
use manyhands_worker::{App, Context, Ending, Shutdown, TaskError, WorkerBuilder};

use crate::support::{
    AWAY, Bench, Event, Flaky, Gate, Gauge, Job, Log, Mode, OnDrop, Step, Sum, World, claim, claim_one,
    complete, gated, job, let_others_run, listen, on_both, queue, soon, start, sum,
};

on_both! {
    a_worker_ends_when_all_its_queues_are_closed_and_joined,
    a_worker_does_not_end_while_another_process_holds_a_task,
    a_worker_does_not_end_before_a_task_that_went_to_a_queue_that_it_had_asked,
    a_worker_that_is_told_to_stop_finishes_what_runs_and_claims_no_more,
    a_handler_that_outlasts_the_grace_is_dropped_and_its_task_given_back_uncharged,
    a_worker_that_is_told_to_end_at_once_gives_its_tasks_back,
    the_second_order_ends_the_grace_of_the_first,
    a_blocking_handler_that_does_not_listen_is_a_stray,
    a_blocking_handler_that_listens_ends_in_time,
    a_task_whose_settlement_waits_is_no_stray,
    an_error_that_does_not_pass_ends_the_worker_after_the_grace,
    a_worker_that_ended_does_not_keep_its_session,
    a_handler_that_panics_while_it_is_dropped_is_given_back_all_the_same,
    a_blocking_handler_that_gives_up_when_told_is_not_charged,
}

const HOUR: Duration = Duration::from_secs(3600);

/// Sums that say whether they were told to stop, and fail then.
fn listening(told: &Log<bool>) -> App {
    let told = told.clone();
    App::new().handle_blocking(move |Sum(_), ctx: &Context| {
        told.add(listen(ctx));
        Err(TaskError::bury("stopped"))
    })
}

/// The orders in which two queues can be asked.
const ORDERS: [[&str; 2]; 2] = [["a", "b"], ["b", "a"]];

/// Serves both queues until they ended.
fn both(names: [&str; 2]) -> impl FnOnce(WorkerBuilder) -> WorkerBuilder {
    let queues = names.map(|name| (queue(name), 1)).to_vec();
    |builder| builder.queues(queues).until_ended(true)
}

/// Makes the worker ask both queues once more, and hear the answers.
async fn ask_again(bench: &Bench, flaky: &Flaky) {
    let asked = flaky.claims.calls() + 2;
    bench.ring().await;
    flaky.claims.until(asked).await;
    let_others_run().await;
}

async fn ends_with_its_queues(world: World, order: [&str; 2]) {
    let (bench, runs) = (world.bench(), Log::new());
    let flaky = bench.flaky();
    let log = runs.clone();
    let app = App::new().handle(move |Job(n), ctx: Context| {
        log.add(n);
        async move {
            // The last stage's task comes from the first when both queues are closed already.
            if n == 2 { ctx.then_task(job(3).on(queue("b"))) } else { Ok(()) }
        }
    });
    bench.send([job(1).on(queue("a"))]).await;
    bench.close("b").await;
    let mut worker = start(flaky.clone(), app, both(order));
    worker.settled().await;
    ask_again(&bench, &flaky).await;
    assert!(worker.is_running(), "{order:?}: it ended, but a is open");
    bench.send([job(2).on(queue("a"))]).await;
    bench.close("a").await;
    assert_eq!(worker.end().await.unwrap().strays, 0);
    assert_eq!(runs.all(), [1, 2, 3], "{order:?}");
    assert_eq!((bench.counts("a").await, bench.counts("b").await), ([0; 4], [0; 4]), "{order:?}");
}

async fn a_worker_ends_when_all_its_queues_are_closed_and_joined(world: World) {
    for order in ORDERS {
        ends_with_its_queues(world, order).await;
    }
}

async fn waits_for_what_others_hold(world: World, order: [&str; 2]) {
    let (bench, gate, inside) = (world.bench(), Gate::new(), Gauge::default());
    let flaky = bench.flaky();
    bench.send([job(1).on(queue("a")), job(2).on(queue("a"))]).await;
    let (other, dying) = (bench.process(), bench.process());
    let held = claim_one(&*other, "a").await;
    claim_one(&*dying, "a").await;
    bench.close("a").await;
    bench.close("b").await;
    gate.open(9);
    let mut worker = start(flaky.clone(), gated(&gate, &inside), both(order));
    ask_again(&bench, &flaky).await;
    assert!(worker.is_running(), "{order:?}: it ended, but two tasks are leased");
    drop(dying);
    assert_eq!(worker.settled().await.0, "2", "the task of the process that died");
    ask_again(&bench, &flaky).await;
    assert!(worker.is_running(), "{order:?}: it ended, but a task is leased");
    assert_eq!(complete(&*other, &held, vec![job(3).on(queue("a"))]).await, Settled::Settled);
    assert_eq!(worker.settled().await.0, "3", "the child");
    worker.end().await.unwrap();
}

/// A closed queue still gets children, and the task of a process that dies comes back.
async fn a_worker_does_not_end_while_another_process_holds_a_task(world: World) {
    for order in ORDERS {
        waits_for_what_others_hold(world, order).await;
    }
}

async fn leaves_nothing_behind(world: World, order: [&str; 2]) {
    let (bench, gate, inside) = (world.bench(), Gate::new(), Gauge::default());
    let flaky = bench.flaky();
    bench.send([job(1).on(queue("a"))]).await;
    let other = bench.process();
    let held = claim_one(&*other, "a").await;
    bench.close("a").await;
    bench.close("b").await;
    gate.open(9);
    flaky.claims.go(Mode::Dawdles);
    let mut worker = start(flaky.clone(), gated(&gate, &inside), both(order));
    // It asked one of the two, but did not hear the answer yet: if that was b, it was empty.
    flaky.claims.until(1).await;
    complete(&*other, &held, vec![job(2).on(queue("b"))]).await;
    flaky.claims.go(Mode::Well);
    worker.end().await.unwrap();
    let counts = (bench.counts("a").await, bench.counts("b").await);
    assert_eq!(counts, ([0; 4], [0; 4]), "{order:?}: it left a task behind");
}

/// The queues are asked one after the other: what goes from one that is still to be asked to one that was asked
/// already must not be left behind.
async fn a_worker_does_not_end_before_a_task_that_went_to_a_queue_that_it_had_asked(world: World) {
    for order in ORDERS {
        leaves_nothing_behind(world, order).await;
    }
}

async fn a_worker_that_is_told_to_stop_finishes_what_runs_and_claims_no_more(world: World) {
    let (bench, gate, inside) = (world.bench(), Gate::new(), Gauge::default());
    bench.send((1..=5).map(job)).await;
    let mut worker = start(bench.session(), gated(&gate, &inside), |builder| builder.concurrency(2));
    inside.until(2).await;
    worker.shutdown.stop();
    gate.open(5);
    assert_eq!(worker.end().await.unwrap().strays, 0);
    assert_eq!(bench.counts("jobs").await, [3, 0, 0, 0]);
    let settled = worker.so_far().into_iter().filter(|event| matches!(event, Event::Settled(..))).count();
    assert_eq!(settled, 2);
    let tasks = claim(&*bench.broker, "jobs", 9).await;
    let left: Vec<_> = tasks.iter().map(|task| (task.lease.id.to_string(), task.deaths)).collect();
    assert_eq!(left, ["3", "4", "5"].map(|id| (id.to_owned(), 0)));
}

/// What is sent ahead to it is for others from then on, not only when the last task has ended.
#[tokio::test]
async fn a_worker_that_is_told_to_stop_withdraws_at_once() {
    let (bench, gate, inside) = (Bench::new(), Gate::new(), Gauge::default());
    let flaky = bench.flaky();
    bench.send([job(1)]).await;
    let mut worker = start(flaky.clone(), gated(&gate, &inside), |builder| builder);
    inside.until(1).await;
    assert_eq!(flaky.withdrawals.calls(), 0);
    worker.shutdown.stop();
    flaky.withdrawals.until(1).await;
    let claims = flaky.claims.calls();
    gate.open(1);
    assert_eq!(worker.end().await.unwrap().strays, 0);
    assert_eq!((flaky.claims.calls(), flaky.withdrawals.calls()), (claims, 1), "it claims no more");
}

/// A broker that does not answer holds nobody up who has nothing to finish, nor anybody who is told to end at once.
#[tokio::test]
async fn a_worker_does_not_wait_for_ever_to_withdraw() {
    for at_once in [false, true] {
        let (bench, gate, inside) = (Bench::new(), Gate::new(), Gauge::default());
        let flaky = bench.flaky();
        let mut worker = start(flaky.clone(), gated(&gate, &inside), |builder| builder);
        flaky.claims.until_answered(1).await;
        flaky.withdrawals.go(Mode::Hangs);
        worker.shutdown.stop();
        flaky.withdrawals.until(1).await;
        if at_once {
            worker.shutdown.abort();
        }
        assert_eq!(worker.end().await.unwrap().strays, 0, "{at_once}");
    }
}

/// Whatever a claim gets was claimed for this process: it must not stay leased by nobody.
// The first claim gets the task: an adversary may have nothing yet.
#[tokio::test]
async fn what_is_being_claimed_when_the_order_comes_is_run() {
    let (bench, gate, inside) = (Bench::new(), Gate::new(), Gauge::default());
    let flaky = bench.flaky();
    bench.send([job(1)]).await;
    gate.open(1);
    flaky.claims.go(Mode::Dawdles);
    let mut worker = start(flaky.clone(), gated(&gate, &inside), |builder| builder);
    flaky.claims.until(1).await;
    assert_eq!(bench.counts("jobs").await, [0, 0, 1, 0]);
    worker.shutdown.stop();
    flaky.claims.go(Mode::Well);
    worker.end().await.unwrap();
    assert_eq!(bench.counts("jobs").await, [0; 4]);
}

/// Stops a worker in a way that leaves its one task no time, and looks what becomes of both.
async fn is_given_back(world: World, grace: Duration, stop: impl AsyncFnOnce(&Shutdown)) {
    let (bench, gate, inside) = (world.bench(), Gate::new(), Gauge::default());
    bench.send([job(1).with_max_attempts(1)]).await;
    let mut worker = start(bench.session(), gated(&gate, &inside), |builder| builder.grace(grace));
    inside.until(1).await;
    stop(&worker.shutdown).await;
    assert_eq!(worker.end().await.unwrap().strays, 0);
    assert_eq!(inside.inside(), 0, "the handler was dropped");
    assert_eq!(worker.ended().await, ("1".to_owned(), Ending::Released));
    assert_eq!(worker.settled().await, ("1".to_owned(), Settled::Settled));
    let task = claim_one(&*bench.broker, "jobs").await;
    assert_eq!((task.attempts, task.deaths), (0, 0), "attempts and deaths: it is not to blame");
}

async fn a_handler_that_outlasts_the_grace_is_dropped_and_its_task_given_back_uncharged(world: World) {
    is_given_back(world, Duration::ZERO, async |shutdown| shutdown.stop()).await;
    is_given_back(world, Duration::from_millis(10), async |shutdown| shutdown.stop()).await;
}

async fn a_worker_that_is_told_to_end_at_once_gives_its_tasks_back(world: World) {
    is_given_back(world, HOUR, async |shutdown| shutdown.abort()).await;
}

async fn the_second_order_ends_the_grace_of_the_first(world: World) {
    is_given_back(world, HOUR, async |shutdown| {
        shutdown.stop();
        let_others_run().await;
        shutdown.abort();
    })
    .await;
}

/// A thread cannot be stopped from outside. The end of the process will give its task back.
async fn a_blocking_handler_that_does_not_listen_is_a_stray(world: World) {
    let (bench, gate, inside) = (world.bench(), Gate::new(), Gauge::default());
    let (pass, sums) = (gate.clone(), inside.clone());
    let app = gated(&gate, &Gauge::default()).handle_blocking(move |Sum(_), _| {
        let _inside = sums.enter();
        pass.pass_blocking();
        Ok(())
    });
    bench.send([sum(1)]).await;
    bench.send([job(1)]).await;
    let mut worker = start(bench.session(), app, |builder| builder.grace(Duration::ZERO));
    inside.until(1).await;
    worker.shutdown.stop();
    assert_eq!(worker.end().await.unwrap().strays, 1);
    assert_eq!(inside.inside(), 1, "it still runs");
    assert_eq!(bench.counts("sums").await, [0, 0, 1, 0], "nobody else may have it as long as it runs");
    assert_eq!(bench.counts("jobs").await, [1, 0, 0, 0], "the async one was given back");
    gate.open(2);
    inside.until(0).await;
}

async fn a_blocking_handler_that_listens_ends_in_time(world: World) {
    let (bench, told) = (world.bench(), Log::new());
    bench.send([sum(1)]).await;
    let mut worker = start(bench.session(), listening(&told), |builder| builder.grace(HOUR));
    worker.started().await;
    worker.shutdown.abort();
    assert_eq!(worker.end().await.unwrap().strays, 0);
    assert_eq!(told.all(), [true]);
    assert_eq!(worker.ended().await, ("1".to_owned(), Ending::Buried("stopped".to_owned())), "its own word");
    assert_eq!(bench.counts("sums").await, [0, 0, 0, 1]);
}

/// The summary counts handlers; a task that is not settled because the broker is away has none any more.
async fn a_task_whose_settlement_waits_is_no_stray(world: World) {
    let (bench, gate, inside) = (world.bench(), Gate::new(), Gauge::default());
    let flaky = bench.flaky();
    bench.send([job(1)]).await;
    flaky.settlements.go(AWAY);
    let mut worker = start(flaky.clone(), gated(&gate, &inside), |builder| builder.grace(Duration::ZERO));
    gate.open(1);
    worker.ended().await;
    worker.shutdown.stop();
    assert_eq!(worker.end().await.unwrap().strays, 0);
}

/// What the broker will never answer ends the worker, but not the tasks that run.
async fn an_error_that_does_not_pass_ends_the_worker_after_the_grace(world: World) {
    let (bench, gate, inside) = (world.bench(), Gate::new(), Gauge::default());
    let flaky = bench.flaky();
    bench.send([job(1)]).await;
    let mut worker = start(flaky.clone(), gated(&gate, &inside), |builder| builder.grace(HOUR));
    inside.until(1).await;
    flaky.claims.go(Mode::Fails(ErrorKind::Incompatible));
    bench.ring().await;
    flaky.claims.more(1).await;
    gate.open(1);
    assert_eq!(worker.end().await.unwrap_err().kind(), ErrorKind::Incompatible);
    assert_eq!(worker.settled().await, ("1".to_owned(), Settled::Settled));
}

/// A worker that is not wanted any more must not keep the session: its end is what tells the others.
async fn a_worker_that_ended_does_not_keep_its_session(world: World) {
    let bench = world.bench();
    let session = bench.session();
    let watched = Arc::downgrade(&session);
    bench.send([job(1)]).await;
    let app = App::new().handle(async |Job(_), ctx: Context| ctx.then(Step(1)));
    let mut worker = start(session, app, |builder| builder);
    worker.settled().await;
    worker.stop().await;
    // The thread of the beats ends by itself, soon.
    let gone = async {
        while watched.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    };
    soon("the session is dropped", gone).await;
}

/// What a handler holds is dropped with it, and can panic then.
async fn a_handler_that_panics_while_it_is_dropped_is_given_back_all_the_same(world: World) {
    let (bench, inside) = (world.bench(), Gauge::default());
    let gauge = inside.clone();
    let app = App::new().handle(move |Job(_), _| {
        let inside = gauge.enter();
        async move {
            let _last = OnDrop::new(|| panic!("the last word"));
            let _inside = inside;
            std::future::pending().await
        }
    });
    bench.send([job(1)]).await;
    let mut worker = start(bench.session(), app, |builder| builder);
    inside.until(1).await;
    worker.shutdown.abort();
    assert_eq!(worker.end().await.unwrap().strays, 0);
    assert_eq!(bench.counts("jobs").await, [1, 0, 0, 0]);
}

/// A thread that obeys and says so by an error has not failed.
async fn a_blocking_handler_that_gives_up_when_told_is_not_charged(world: World) {
    let (bench, inside) = (world.bench(), Gauge::default());
    let gauge = inside.clone();
    let app = App::new().handle_blocking(move |Sum(_), ctx: &Context| {
        let _inside = gauge.enter();
        while !ctx.cancelled() {
            std::thread::yield_now();
        }
        Err(TaskError::retry("told to stop"))
    });
    bench.send([sum(1)]).await;
    let mut worker = start(bench.session(), app, |builder| builder);
    inside.until(1).await;
    worker.shutdown.abort();
    assert_eq!(worker.end().await.unwrap().strays, 0);
    assert_eq!(bench.counts("sums").await, [1, 0, 0, 0]);
    assert_eq!(claim(&*bench.broker, "sums", 1).await[0].attempts, 0);
}
