//! Raw limit: messages into a quorum queue of RabbitMQ, with 2000 that are not confirmed.

use std::time::Instant;

use anyhow::Result;

use super::{
    Measured,
    rabbitmq::{Raw, WINDOW, settings},
};
use crate::work::Work;

pub(super) fn measure(n: u64) -> Result<Measured> {
    let raw = Raw::start()?;
    let per_second = raw.runtime.block_on(async {
        let link = raw.link().await?.confirmed().await?;
        let began = Instant::now();
        link.publish((0..n).map(Work::json)).await?;
        Ok::<_, anyhow::Error>(n as f64 / began.elapsed().as_secs_f64())
    })?;
    Ok(Measured { settings: settings("raw lapin, one channel", WINDOW, n), per_second, took: None })
}
