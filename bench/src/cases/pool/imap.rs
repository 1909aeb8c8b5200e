//! `imap` over many numbers, while a process is killed: all results come, in order.

use anyhow::Result;

use super::Bench;
use crate::{
    actor::Actor,
    figures::rate,
    report::{Row, Target, Unit},
    roles::{Call, Calls, Mapped, Role},
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(100_000, 2000);
    let (mut right, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let mapped: Mapped = Actor::run(&Role::Call(Call::here(Calls::Imap { n })))?;
        right.push(mapped.right as f64);
        rates.push(rate(n, mapped.nanos));
    }
    let what = format!("of {n}, a process killed in the middle: right and in their place");
    Ok(vec![
        Row::new("imap", what, Unit::Count, right).target(Target::NeverBelow(n as f64)),
        Row::new("imap", "the same", Unit::PerSecond, rates),
    ])
}
