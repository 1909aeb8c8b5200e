//! `map` of a function that does next to nothing over many numbers, in two processes.

use anyhow::Result;

use super::{Bench, beside::beside};
use crate::{
    python::Python,
    report::{Row, Target},
    roles::Calls,
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(100_000, 2000);
    let ones = Calls::Map { n, chunk: Some(1) };
    let peers = [(Python::Pool, Target::RatioAtLeast(3.0)), (Python::Executor, Target::None)];
    let mut rows = beside(bench, "map", ("map, one a chunk", n), ones, &peers)?;
    let usual = Calls::Map { n, chunk: None };
    // What an executor does by default is one a chunk.
    let peers = [(Python::Pool, Target::RatioAtLeast(1.0))];
    rows.extend(beside(bench, "map", ("map, chunks as they come", n), usual, &peers)?);
    Ok(rows)
}
