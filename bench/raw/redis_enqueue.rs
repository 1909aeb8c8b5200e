//! Raw limit: bodies into Redis. Each is put into a hash and its id on a list by a script, a hundred calls in one pipeline.

use std::time::Instant;

use anyhow::Result;

use super::{
    Measured,
    redis::{Raw, settings},
};
use crate::work::{BATCH, Work};

pub(super) fn measure(n: u64) -> Result<Measured> {
    let mut raw = Raw::start()?;
    let began = Instant::now();
    raw.enqueue((0..n).map(Work::json), BATCH)?;
    let per_second = n as f64 / began.elapsed().as_secs_f64();
    let settings = settings("raw Lua HSET + LPUSH, pipelined", BATCH, n);
    Ok(Measured { settings, per_second, took: None })
}
