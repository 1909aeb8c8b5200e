//! Raw limit: messages through a quorum queue of RabbitMQ, in and out at once, on two connections.

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
        let (producer, worker) = (raw.link().await?.confirmed().await?, raw.link().await?);
        let consumer = worker.consumer().await?;
        let began = Instant::now();
        // On threads of their own, as processes are.
        let produced = tokio::spawn(async move { producer.publish((0..n).map(Work::json)).await });
        let consumed = tokio::spawn(async move { worker.consume(consumer, n).await });
        produced.await??;
        consumed.await??;
        Ok::<_, anyhow::Error>(n as f64 / began.elapsed().as_secs_f64())
    })?;
    let settings = settings("raw lapin, window 2000, prefetch 1000, acknowledged each hundred", BATCH, n);
    Ok(Measured { settings, per_second, took: None })
}
