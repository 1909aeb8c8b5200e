//! Processes of a pool that are killed while they write their results: how all calls end.

use std::time::Duration;

use anyhow::Result;

use super::Bench;
use crate::{
    actor::Actor,
    report::{Row, Target, Unit},
    roles::{Kills, Role, Survived},
};

/// How long results are, and within which time the next kill comes. A socket holds 100 KiB without anybody who reads, so that a kill cuts such a
/// result off only where another one is still there; of 1 MiB no process is rid at once. Kills that come faster than calls end hit the same call
/// again and again.
const SIZES: [(usize, &str, Duration); 2] =
    [(100 << 10, "100 KiB", Duration::from_millis(4)), (1 << 20, "1 MiB", Duration::from_millis(40))];

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let kills = bench.scaled(1000, 5);
    let mut rows = Vec::new();
    for (bytes, size, pause) in SIZES {
        for (rerun, on_crash) in [(false, "fail"), (true, "rerun")] {
            let folder = bench.place.fresh()?;
            let ledger = folder.path().join("ledger");
            let survived: Survived = Actor::run(&Role::Kills(Kills { kills, rerun, bytes, pause, ledger }))?;
            rows.extend(told(&format!("{size}, {on_crash}"), (kills, rerun), &survived));
        }
    }
    Ok(rows)
}

/// What is told of one of them.
fn told(name: &str, (kills, rerun): (u64, bool), survived: &Survived) -> Vec<Row> {
    let Survived { kills: killed, writing, calls, right, crashed, wrong, hung, .. } = survived;
    let Survived { waiting, unfounded, again, error, files, left, .. } = survived;
    let count = |what: &str, value: u64| {
        Row::new("killed", format!("{name}: {what}"), Unit::Count, vec![value as f64])
    };
    let never = |what: &str, value: u64| count(what, value).target(Target::NeverAbove(0.0));
    let hung = if *hung { "; one hung" } else { "" };
    let error = error.as_ref().map(|error| format!("; another end: {error}")).unwrap_or_default();
    let mut rows = vec![
        count("processes killed", *killed).target(Target::NeverBelow(kills as f64)).remark(format!(
            "{name}: {writing} of them waited in the middle of a write, and {waiting} for something to do, when they were looked at just before"
        )),
        never("calls without an end", calls.abs_diff(right + crashed + wrong)).remark(format!(
            "{name}: {calls} calls, {right} with their result, {crashed} whose process died; {unfounded} of these were not begun last by as many \
             that were killed; {again} calls began more than once{hung}{error}"
        )),
        never("other ends than a result or a crash", *wrong),
    ];
    rows.push(match rerun {
        true => never("calls given up after three crashes", *crashed),
        false => never("calls that began more than once", *again),
    });
    rows.push(never("files more than before, and processes left", files.unsigned_abs() + left));
    rows
}
