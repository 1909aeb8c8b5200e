//! A server that is killed under load, and started again.

use std::{fs, io};

use anyhow::Result;
use manyhands_test_support::servers::Redis;

use super::{
    super::restart::{self, Mortal},
    Bench, with_durability,
};
use crate::{report::Row, settings::Durability};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let kills = usize::try_from(bench.scaled(20, 2))?;
    let folder = bench.place.fresh()?;
    let (data, ledgers) = (folder.path().join("data"), folder.path().join("ledgers"));
    fs::create_dir(&data)?;
    fs::create_dir(&ledgers)?;
    // On the disk that all is measured on.
    let server = Redis::options().synced().with("dir", data.display()).start()?;
    restart::measure(server, &ledgers, kills, |who, batch, n| {
        with_durability(who, batch, n, Durability::ServersLog)
    })
}

impl Mortal for Redis {
    fn url(&self) -> String {
        Self::url(self)
    }

    fn kill(&mut self) -> io::Result<()> {
        Self::kill(self)
    }

    fn restart(&mut self) -> io::Result<()> {
        Self::restart(self)
    }

    fn is_ready_to_die(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn remembers(&self) -> bool {
        true
    }
}
