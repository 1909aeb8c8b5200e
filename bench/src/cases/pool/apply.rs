//! One call after the other, each when the one before has its result.

use anyhow::Result;

use super::{Bench, beside::beside};
use crate::{
    python::Python,
    report::{Row, Target},
    roles::Calls,
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(20_000, 500);
    let peers = [(Python::Pool, Target::RatioAtLeast(3.0)), (Python::Executor, Target::None)];
    beside(bench, "apply", ("apply, one after the other", n), Calls::Apply { n }, &peers)
}
