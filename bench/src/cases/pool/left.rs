//! What is left of a pool whose processes do calls that never end, when its program is killed or ends.

use std::{thread, time::Duration};

use anyhow::{Context, Result};
use manyhands_test_support::{
    kill::{self, Watch, descendants},
    ledger::now,
};
use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};

use super::Bench;
use crate::{
    actor::Actor,
    figures::{millis, percentile},
    report::{Row, Target, Unit},
    roles::{Call, Calls, Role},
};

/// How long after the end nobody may be left.
const LEFT: Duration = Duration::from_secs(1);

/// Within which time a program is killed that has just been started.
const SOON: Duration = Duration::from_millis(15);

/// How a program ends.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// It is killed, at any moment since its start.
    KilledSoon,
    /// It is killed when its processes are busy.
    Killed,
    /// Its main function returns; the pool is dropped.
    Dropped,
    /// Its main function returns; the pool is not.
    Forgotten,
}

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let rounds = bench.scaled(100, 2);
    // Whoever is left behind becomes a child of this process, and cannot hide.
    set_child_subreaper(Some(getpid()))?;
    let mut rows = Vec::new();
    for (way, name) in [
        (Way::KilledSoon, "killed at its start"),
        (Way::Killed, "killed"),
        (Way::Dropped, "ended"),
        (Way::Forgotten, "ended, the pool not dropped"),
    ] {
        let (mut took, mut left) = (Vec::new(), 0_u64);
        for _ in 0..rounds {
            let (last, alive) = round(way)?;
            took.push(last);
            left += alive;
        }
        let (middle, worst) = (percentile(&mut took, 0.5), percentile(&mut took, 1.0));
        rows.push(
            Row::new(
                "left",
                format!("{name} {rounds} times: alive {LEFT:?} after"),
                Unit::Count,
                vec![left as f64],
            )
            .target(Target::NeverAbove(0.0))
            .remark(format!(
                "{name}: the last of its processes ended {middle:.1} ms after (p50), {worst:.1} at most"
            )),
        );
    }
    set_child_subreaper(None)?;
    Ok(rows)
}

/// Milliseconds until the last process has ended, and how many are left after a second.
#[expect(clippy::disallowed_methods, reason = "a moment that nobody chooses is what is wanted")]
fn round(way: Way) -> Result<(f64, u64)> {
    let role = Role::Call(Call::here(Calls::Hang { dropped: matches!(way, Way::Dropped) }));
    let mut program = match way {
        Way::KilledSoon => Actor::start(&role)?,
        _ => Actor::ready(&role)?,
    };
    if matches!(way, Way::KilledSoon) {
        thread::sleep(SOON.mul_f64(fastrand::f64()));
    }
    let pid = program.pid();
    let family: Vec<_> = descendants(pid).into_iter().filter_map(|pid| Watch::open(pid).ok()).collect();
    let ended = match way {
        Way::KilledSoon | Way::Killed => {
            let killed = now();
            kill::kill(pid)?;
            killed
        }
        Way::Dropped | Way::Forgotten => {
            let watch = Watch::open(pid)?;
            program.go()?;
            watch.end(10 * LEFT)?;
            now()
        }
    };
    let mut last = ended;
    for member in family {
        let rest = LEFT.saturating_sub(Duration::from_nanos(now() - ended));
        if member.ended(rest).context("a process cannot be watched")? {
            last = now();
        }
    }
    drop(program);
    Ok((millis(last - ended), alive(ended)?))
}

/// How many processes are left, waiting for them until a second has passed. Those that have ended are waited for, as this is their parent now.
#[expect(clippy::disallowed_methods, reason = "nothing tells that a child of a child has become one's own")]
fn alive(ended: u64) -> Result<u64> {
    loop {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        let left = descendants(std::process::id());
        if left.is_empty() || Duration::from_nanos(now() - ended) >= LEFT {
            for pid in &left {
                // Nobody else will.
                kill::kill(*pid)?;
            }
            return Ok(left.len() as u64);
        }
        thread::sleep(Duration::from_millis(1));
    }
}
