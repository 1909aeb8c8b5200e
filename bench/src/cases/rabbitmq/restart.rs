//! A server that is killed under load, and started again.

use std::{fs, io};

use anyhow::Result;
use manyhands_test_support::servers::RabbitMq;

use super::{
    super::restart::{self, Mortal},
    Bench, ours,
};
use crate::{report::Row, work::QUEUE};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let kills = usize::try_from(bench.scaled(20, 2))?;
    let folder = bench.place.fresh()?;
    let ledgers = folder.path().join("ledgers");
    fs::create_dir(&ledgers)?;
    restart::measure(RabbitMq::start()?, &ledgers, kills, ours)
}

impl Mortal for RabbitMq {
    fn url(&self) -> String {
        Self::url(self)
    }

    fn kill(&mut self) -> io::Result<()> {
        Self::kill(self)
    }

    fn restart(&mut self) -> io::Result<()> {
        Self::restart(self)
    }

    /// A single node that is killed before it has written down which queues there are forgets a new one with all that it confirmed.
    fn is_ready_to_die(&self) -> io::Result<bool> {
        let queues = [format!("work:{QUEUE}"), format!("dead:{QUEUE}"), "directory".to_owned()];
        queues.iter().try_fold(true, |all, queue| Ok(all && self.has_noted(queue)?))
    }

    fn remembers(&self) -> bool {
        false
    }
}
