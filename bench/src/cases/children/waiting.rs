//! How much memory a worker takes for tasks that wait.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use manyhands::Task;

use super::super::local::url;
use super::Bench;
use crate::{
    machine::resident,
    report::{Row, Target, Unit},
    work::PAYLOAD,
    worker::{Hired, Look, Waits},
};

/// How many leases are waited for.
const LEASES: u32 = 3;

#[expect(clippy::disallowed_methods, reason = "what is measured is that nothing happens")]
pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(10_000, 200);
    let lease = Duration::from_secs(bench.scaled(3, 1));
    let (mut memory, mut lost) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let folder = bench.place.fresh()?;
        let broker = url(folder.path());
        let look = Look::at(&broker)?.of(Waits::QUEUE)?;
        let pad = "x".repeat(PAYLOAD - r#"{"pad":""}"#.len());
        look.send((0..n).map(|_| (Waits { pad: pad.clone() }, 3)))?;
        let configuration = format!("[worker]\nlease = \"{}s\"\n", lease.as_secs());
        let slots = n.to_string();
        let mut worker = Hired::start(
            folder.path(),
            &broker,
            &configuration,
            &["--queues", Waits::QUEUE, "--concurrency", &slots],
        )?;
        look.until(&mut worker, Duration::from_secs(60), |status| status.leased == n)?;
        thread::sleep(lease * LEASES);
        memory.push(resident(worker.pid())?);
        let status = look.status()?;
        ensure!(status.leased + status.ready == n, "{status:?}");
        lost.push(status.ready as f64);
        worker.stop(2)?;
    }
    Ok(vec![
        Row::new("waiting", format!("resident with {n} tasks that wait"), Unit::MiB, memory)
            .target(Target::AtMost(60.0))
            .remark(format!(
                "payloads of {PAYLOAD} bytes, leases of {lease:?}, looked at after {LEASES} of them"
            )),
        Row::new("waiting", "leases that were lost", Unit::Count, lost).target(Target::NeverAbove(0.0)),
    ])
}
