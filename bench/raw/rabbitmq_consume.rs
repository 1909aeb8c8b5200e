//! Raw limit: messages out of a quorum queue of RabbitMQ, a thousand at a time, each hundred acknowledged at once.

use std::time::Instant;

use anyhow::Result;

use super::{
    Measured,
    rabbitmq::{Raw, settings},
};
use crate::work::{BATCH, Work};

pub(super) fn measure(n: u64) -> Result<Measured> {
    let raw = Raw::start()?;
    let per_second = raw.runtime.block_on(async {
        raw.link().await?.confirmed().await?.publish((0..n).map(Work::json)).await?;
        let link = raw.link().await?;
        let began = Instant::now();
        let consumer = link.consumer().await?;
        link.consume(consumer, n).await?;
        Ok::<_, anyhow::Error>(n as f64 / began.elapsed().as_secs_f64())
    })?;
    let settings = settings("raw lapin, prefetch 1000, acknowledged each hundred", BATCH, n);
    Ok(Measured { settings, per_second, took: None })
}
