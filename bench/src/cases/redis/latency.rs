//! From an enqueue to the handler in another process, when all are idle: what a few round trips cost.

use anyhow::Result;

use super::{Bench, broker, ours};
use crate::{
    cases::latency,
    raw::Raw,
    reference,
    report::{Row, Target},
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let raw = Raw::RedisPing { n: bench.scaled(10_000, 100) };
    latency(
        bench,
        (&raw, reference::REDIS_PING),
        broker,
        ours,
        (Target::RatioAtMost(3.0), Target::RatioAtMost(5.0)),
    )
}
