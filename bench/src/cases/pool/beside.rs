//! Rounds of ours and of Python's pools, in turns.

use anyhow::Result;

use super::Bench;
use crate::{
    actor::Actor,
    cases::each,
    figures::{Spread, rate},
    python::Python,
    report::{Row, Target, Unit},
    roles::{Call, Called, Calls, Role},
};

/// The rounds of one pool.
#[derive(Debug, Default)]
struct Rounds {
    rates: Vec<f64>,
    /// Processor time a call, in microseconds: of the caller, and of the processes.
    caller: Vec<f64>,
    children: Vec<f64>,
}

impl Rounds {
    fn add(&mut self, n: u64, called: Called) {
        self.rates.push(rate(n, called.nanos));
        self.caller.push(each(called.caller, n));
        self.children.push(each(called.children, n));
    }

    fn remark(&self, who: &str) -> String {
        let median = |rounds| Spread::of(rounds).map_or(0.0, |spread| spread.median);
        let (caller, children) = (median(&self.caller), median(&self.children));
        format!(
            "{who}: {caller:.1} us of processor time a call in the caller, {children:.1} in the processes"
        )
    }
}

/// Measures so many calls in a pool of ours and in those of Python, round by round: a row beside each.
pub(super) fn beside(
    bench: &Bench,
    case: &'static str,
    what: (&str, u64),
    calls: Calls,
    peers: &[(Python, Target)],
) -> Result<Vec<Row>> {
    let ours = || Actor::run(&Role::Call(Call::here(calls)));
    beside_of(bench, case, what, (calls, ours), peers)
}

/// The same with a pool of ours that is measured so.
pub(super) fn beside_of(
    bench: &Bench,
    case: &'static str,
    (what, n): (&str, u64),
    (calls, measure): (Calls, impl Fn() -> Result<Called>),
    peers: &[(Python, Target)],
) -> Result<Vec<Row>> {
    let mut ours = Rounds::default();
    let mut theirs: Vec<_> = peers.iter().map(|_| (String::new(), Rounds::default())).collect();
    for _ in 0..bench.rounds() {
        ours.add(n, measure()?);
        for ((peer, _), (name, rounds)) in peers.iter().zip(&mut theirs) {
            let measured = peer.measure(bench.place.fresh()?.path(), calls)?;
            *name = measured.name;
            rounds.add(n, measured.called);
        }
    }
    let row = |((_, target), (name, rounds)): (&(Python, Target), (String, Rounds))| {
        Row::new(case, what, Unit::PerSecond, ours.rates.clone())
            .against(&name, rounds.rates.clone())
            .target(*target)
            .remark(ours.remark(&format!("ours, {what}")))
            .remark(rounds.remark(&format!("{name}, {what}")))
    };
    Ok(peers.iter().zip(theirs).map(row).collect())
}
