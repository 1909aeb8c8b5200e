//! From an enqueue to the handler in another process, when all are idle: what a few round trips cost.

use anyhow::Result;

use super::{Bench, broker, ours};
use crate::{
    cases::{IDLE, latency},
    raw::Raw,
    reference,
    report::{Row, Target},
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let idle = u64::try_from(IDLE.as_millis())?;
    latency(
        bench,
        &[
            (Raw::RedisPing { n: bench.scaled(10_000, 100), pause: 0 }, reference::REDIS_PING),
            (Raw::RedisPing { n: bench.scaled(1000, 50), pause: idle }, reference::REDIS_IDLE_PING),
        ],
        broker,
        ours,
        (Target::RatioAtMost(3.0), Target::RatioAtMost(5.0)),
    )
}
