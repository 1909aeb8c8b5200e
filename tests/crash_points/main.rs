//! A process is ended at every named place of the local store, of a producer and of a worker; then the store must be
//! sound, and everything that was promised must hold.
//!
//! One trial a crash point, `area.step`. This program is started again with `MANYHANDS_TEST_CRASH` set, and puts the
//! same [`load`] on a store each time: it opens, declares, enqueues, makes a call twice, ends a
//! batch of limited tasks, claims, settles in every way, loses a session, sees a reboot, and works until a queue ended. It notes what it was [`told`] in a file of its own, on the disk and outside
//! the broker. At the point it dies. Then the [`verdict`] opens what it left. A child that ends by itself never passed its
//! point, and its trial fails: a point that nobody passes is not tested.
//!
//! A trial's name ends in `+late` where the other threads go on for a moment: who was answered before a commit notes it
//! then. It ends in `+beside` where somebody else has the store open, as in about every other, so that both kinds of recovery
//! happen. Points of the writer are passed for the first time when a queue is declared, so they are also tried at other
//! moments, as `@Settle`. `MANYHANDS_TEST_LONG` set: all points at all moments, and later passages too, as `#3`.
//!
//! A process dies here, not the machine: power cuts are for `broker/tests/power_cut`.

#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

mod load;
mod plan;
mod stored;
mod told;
mod verdict;
mod work;

use std::{
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};

use libtest_mimic::{Arguments, Trial};
use manyhands_broker::{Broker, BrokerUrl, QueueName, Result, connect};

use plan::{Child, Plan};
use told::Told;

/// How long an event is waited for. Only a broken broker takes that long.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often to look at what no event tells of.
const LOOK: Duration = Duration::from_millis(2);

/// What makes this program a child, and tells it what to do.
const CHILD: &str = "MANYHANDS_TEST_CRASH";

fn main() -> ExitCode {
    if let Ok(child) = std::env::var(CHILD) {
        let child: Child = serde_json::from_str(&child).unwrap();
        runtime().block_on(load::run(&child));
        return ExitCode::SUCCESS;
    }
    let long = std::env::var_os("MANYHANDS_TEST_LONG").is_some();
    let trial = |plan: Plan| {
        Trial::test(plan.to_string(), move || {
            runtime().block_on(crash(&plan));
            Ok(())
        })
    };
    let trials = plan::all(long).into_iter().map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// One trial.
async fn crash(plan: &Plan) {
    let folder = tempfile::tempdir().unwrap();
    let child = Child { plan: plan.clone(), folder: folder.path().to_owned() };
    // Sees what the child does, and its death.
    let beside = if plan.beside { Some(session(&child.store()).await.unwrap()) } else { None };
    let status = Command::new(std::env::current_exe().unwrap())
        .env(CHILD, serde_json::to_string(&child).unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    let killed = status.signal() == Some(9);
    assert!(killed || status.success(), "the child failed by itself: {status}");
    assert!(killed || !plan.must_be_reached(), "the child passed {plan} never, and ended");
    let told = Told::read(&child.ledger());
    verdict::judge(&child.store(), &told, beside).await;
}

/// A session as users open it.
async fn session(store: &Path) -> Result<Arc<dyn Broker>> {
    let url: BrokerUrl = format!("local:{}", store.display()).parse()?;
    connect(&url).await
}

fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

/// Looks again and again until it is so.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let wait = async {
        let mut look = tokio::time::interval(LOOK);
        while !so().await {
            look.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "not within {PATIENCE:?}: {what}");
}
