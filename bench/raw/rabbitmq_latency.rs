//! Raw limit: from the publish of a message to its consumer, when all are idle.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use lapin::options::BasicAckOptions;

use super::{
    Measured,
    rabbitmq::{Raw, settings},
};
use crate::{
    figures::{millis, percentile},
    work::Work,
};
use manyhands_test_support::ledger::now;

/// Long enough for all to fall asleep again.
const PAUSE: Duration = Duration::from_millis(3);

pub(super) fn measure(n: u64) -> Result<Measured> {
    let raw = Raw::start()?;
    let (began, mut took) = (Instant::now(), Vec::new());
    raw.runtime.block_on(async {
        let (producer, worker) = (raw.link().await?.confirmed().await?, raw.link().await?);
        let mut consumer = worker.consumer().await?;
        let consumed = tokio::spawn(async move {
            let mut came = Vec::new();
            for _ in 0..n {
                let delivery = consumer.next().await.context("the consumer was ended")??;
                came.push(now());
                worker.channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default()).await?;
            }
            Ok::<_, anyhow::Error>(came)
        });
        let mut sent = Vec::new();
        for _ in 0..n {
            sent.push(now());
            producer.publish(std::iter::once(Work::json(now()))).await?;
            tokio::time::sleep(PAUSE).await;
        }
        let came = consumed.await??;
        took = sent.iter().zip(came).map(|(sent, came)| millis(came.saturating_sub(*sent))).collect();
        Ok::<_, anyhow::Error>(())
    })?;
    let per_second = n as f64 / began.elapsed().as_secs_f64();
    let took = Some((percentile(&mut took, 0.5), percentile(&mut took, 0.99)));
    Ok(Measured { settings: settings("raw lapin, one at a time, all idle", 1, n), per_second, took })
}
