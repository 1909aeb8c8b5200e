//! From an enqueue to the handler in another process, when all are idle.

use anyhow::Result;

use super::{Bench, broker, ours};
use crate::{
    cases::latency,
    raw::Raw,
    reference,
    report::{Row, Target},
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    latency(
        bench,
        &[(Raw::RabbitmqLatency { n: bench.scaled(1000, 50) }, reference::RABBITMQ_LATENCY)],
        broker,
        ours,
        (Target::RatioAtMost(1.3), Target::None),
    )
}
