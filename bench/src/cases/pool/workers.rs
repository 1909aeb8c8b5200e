//! `map` whose calls are done by two workers of a broker, beside processes of one box in Python.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use manyhands_broker::limits;
use manyhands_test_support::servers::Redis;

use super::{super::local::url, Bench, beside::beside_of};
use crate::{
    actor::Actor,
    python::Python,
    report::{Row, Target},
    roles::{Call, Called, Calls, Role, Serve, Workers},
    worker::Look,
};

/// How long it may take until both workers are known.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(100_000, 2000);
    let calls = Calls::Map { n, chunk: Some(1) };
    let peers = [(Python::Pool, Target::RatioAtLeast(1.0))];
    let over_redis = || {
        let server = Redis::start()?;
        measure(server.url(), calls)
    };
    let over_local = || {
        let folder = bench.place.fresh()?;
        measure(url(folder.path()), calls)
    };
    let mut rows = beside_of(bench, "workers", ("redis:, map, one a chunk", n), (calls, over_redis), &peers)?;
    rows.extend(beside_of(bench, "workers", ("local:, map, one a chunk", n), (calls, over_local), &peers)?);
    Ok(rows)
}

fn measure(broker: String, calls: Calls) -> Result<Called> {
    let role = Role::Serve(Serve { broker: broker.clone() });
    let workers = (0..Call::HANDS).map(|_| Actor::ready(&role)).collect::<Result<Vec<_>>>()?;
    until_known(&broker)?;
    let pids = workers.iter().map(Actor::pid).collect();
    Actor::run(&Role::Call(Call { calls, workers: Some(Workers { broker, pids }) }))
}

/// Waits until the broker knows that all workers are there: a pool asks how much they do at a time when it is opened.
#[expect(clippy::disallowed_methods, reason = "nothing tells that a worker has told of itself")]
fn until_known(broker: &str) -> Result<()> {
    let (look, began) = (Look::at(broker)?, Instant::now());
    loop {
        let live = look.with(|broker, _| async move {
            let workers = broker.workers().context("this broker knows no workers")?;
            anyhow::Ok(workers.live(None, limits::MAX_BATCH).await?.len())
        })?;
        if live >= Call::HANDS {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "the workers do not tell of themselves");
        thread::sleep(Duration::from_millis(5));
    }
}
