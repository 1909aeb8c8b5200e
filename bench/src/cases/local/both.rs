//! A producer and a worker at once, in two processes: beside the slower of the raw limits, and beside a queue that somebody
//! else built.

use anyhow::{Result, ensure};

use super::{Bench, both_at_once, ours};
use crate::{
    raw::{Measured, Raw, Server},
    reference,
    report::{Row, Target, Unit},
    roles::{Produce, Work},
    settings::{Despite, Durability},
    work::BATCH,
};

/// What JetStream may keep under way where it need not be like ours: what it was found to be quick with.
const WINDOW: usize = 2000;

const CASE: &str = "both";

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(200_000, 2_000);
    let folder = bench.place.fresh()?;
    let server = if Server::is_installed() { Some(Server::start(folder.path())?) } else { None };
    let (mut rates, mut slower, mut alike, mut wide) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let (inserts, claims) = (bench.raw(Raw::Inserts { n })?, bench.raw(Raw::Claims { n })?);
        slower.push(slower_of(inserts, claims)?);
        let (_folder, broker) = bench.broker()?;
        let work = Work { until: Some(n), ..Work::new(&broker) };
        rates.push(both_at_once(Produce::new(&broker, n), work)?.rate);
        if let Some(server) = &server {
            alike.push(server.measure(n, BATCH)?);
            wide.push(server.measure(n, WINDOW)?);
        }
    }
    let settings = ours("one producer, one worker, 100 slots", Durability::FullInNormalOut, n);
    let row =
        || Row::new(CASE, "a producer and a worker", Unit::PerSecond, rates.clone()).with(settings.clone());
    let mut rows = Vec::new();
    let mut beside = |name, measured: Vec<Measured>, despite, target| {
        let rates = measured.iter().map(|measured| measured.per_second).collect();
        if let Some(Measured { settings, .. }) = measured.into_iter().next() {
            rows.push(row().beside(name, rates, settings, despite).target(target));
        }
    };
    beside(reference::SLOWER, slower, Despite::Nothing, Target::RatioAtLeast(0.5));
    beside(reference::JETSTREAM, alike, Despite::OursIsMoreDurable, Target::RatioAtLeast(1.0));
    beside(reference::JETSTREAM, wide, Despite::OursIsMoreDurable, Target::None);
    if server.is_none() {
        let missing =
            "nats-server is not installed (apt-get install nats-server): not measured beside JetStream";
        rows = rows.into_iter().map(|row| row.remark(missing)).collect();
    } else if let Some(row) = rows.pop() {
        rows.push(
            row.remark("what JetStream acknowledges is synced by a timer, what we answer is synced before"),
        );
    }
    Ok(rows)
}

/// The slower of the two raw limits. What goes in is synced there, what comes out is not, as here.
fn slower_of(inserts: Measured, claims: Measured) -> Result<Measured> {
    let durability = (inserts.settings.durability, claims.settings.durability);
    ensure!(durability == (Durability::Full, Durability::Normal), "the raw limits ran with {durability:?}");
    let mut slower = if inserts.per_second < claims.per_second { inserts } else { claims };
    slower.settings.durability = Durability::FullInNormalOut;
    slower.settings.who.insert_str(0, "the slower of raw inserts and raw claims, ");
    Ok(slower)
}
