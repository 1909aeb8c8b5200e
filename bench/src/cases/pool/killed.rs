//! Processes of a pool that are killed while they write results of 100 KiB: how all calls end.

use anyhow::Result;

use super::Bench;
use crate::{
    actor::Actor,
    report::{Row, Target, Unit},
    roles::{Kills, Role, Survived},
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let kills = bench.scaled(1000, 20);
    let mut rows = Vec::new();
    for (rerun, name) in [(false, "failing"), (true, "done again")] {
        let survived: Survived = Actor::run(&Role::Kills(Kills { kills, rerun }))?;
        rows.extend(told(name, kills, &survived));
    }
    Ok(rows)
}

/// What is told of one of them.
fn told(name: &str, kills: u64, survived: &Survived) -> [Row; 5] {
    let Survived { kills: killed, writing, calls, right, crashed, wrong, error, hung, files, left } =
        survived;
    let count =
        |what: &str, value: f64| Row::new("killed", format!("{name}: {what}"), Unit::Count, vec![value]);
    let never = |what: &str, value: f64| count(what, value).target(Target::NeverAbove(0.0));
    let hung = if *hung { "; one hung" } else { "" };
    let error = error.as_ref().map(|error| format!("; another error: {error}")).unwrap_or_default();
    [
        count("processes killed", *killed as f64).target(Target::NeverBelow(kills as f64)).remark(format!(
            "{name}: {writing} of them were waiting in the middle of a write when they were looked at just before"
        )),
        never("calls without an end", calls.abs_diff(right + crashed + wrong) as f64).remark(format!(
            "{name}: {calls} calls, {right} with their result, {crashed} whose process died{hung}{error}"
        )),
        never("results that were wrong, or ends of another kind", *wrong as f64),
        count("calls given up, as their processes died", *crashed as f64),
        never("files more than before, and processes left", (files.abs() + *left as i64) as f64),
    ]
}
