//! What a task takes of the server's memory that is queued and was never claimed, and what is left when all are done.

use anyhow::{Context, Result};
use manyhands_test_support::servers::Redis;

use super::{Bench, broker, drain, fill, ours};
use crate::{
    actor::Actor,
    report::{Row, Target, Unit},
    roles::{Produce, Produced, Role, Work},
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(200_000, 5_000);
    let (mut fifo, mut priority, mut left) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let (server, broker) = broker()?;
        // What the first task of a queue costs is not counted for each.
        fill(&broker, 1, false)?;
        let empty = used(&server)?;
        fill(&broker, n, true)?;
        fifo.push((used(&server)? - empty) / n as f64);
        drain(Work::new(&broker), n)?;
        left.push((used(&server)? - empty) / (1024.0 * 1024.0));
        priority.push(by_priority(n)?);
    }
    let row = |what, rounds, most| {
        Row::new("memory", what, Unit::Bytes, rounds)
            .with(ours("queued, never claimed", 256, n))
            .target(Target::AtMost(most))
    };
    let rest = Row::new("memory", "more than before, when all are done", Unit::MiB, left);
    Ok(vec![
        row("each queued task, fifo", fifo, 320.0),
        row("each queued task, priority", priority, 420.0),
        rest.target(Target::AtMost(1.0)),
    ])
}

fn by_priority(n: u64) -> Result<f64> {
    let (server, broker) = broker()?;
    let produce = |tasks| Produce { batch: 256, calls: 4, priorities: 100, ..Produce::new(&broker, tasks) };
    let _: Produced = Actor::run(&Role::Produce(produce(1)))?;
    let empty = used(&server)?;
    let _: Produced = Actor::run(&Role::Produce(produce(n)))?;
    Ok((used(&server)? - empty) / n as f64)
}

/// What the server's data takes, in bytes: without what its clients' connections do.
pub(super) fn used(server: &Redis) -> Result<f64> {
    let mut connection = redis::Client::open(server.url())?.get_connection()?;
    let stats: String = redis::cmd("INFO").arg("memory").query(&mut connection)?;
    let field = |name: &str| {
        let value = stats.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        value.with_context(|| format!("the server does not say {name}"))
    };
    Ok(field("used_memory:")? - field("mem_clients_normal:")?)
}
