//! Beats: leases are renewed from a thread of their own.
//!
//! Never from the runtime that runs handlers: a handler that blocks it must not look like a dead process. And never
//! in vain: a lease that could not be renewed for two thirds of its length is given up here, before the broker can
//! give it to another.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use manyhands_broker::{Beaten, Broker, limits};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::leases::Leases;

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Beats {
    _stop: DropGuard,
}

impl Beats {
    /// Starts the thread. Leases last `lease` and are renewed every third of that.
    pub(crate) fn start(broker: Arc<dyn Broker>, leases: Arc<Leases>, lease: Duration) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let stopped = stop.clone();
        let run = move || {
            runtime.block_on(stopped.run_until_cancelled(beat_for_ever(&*broker, &leases, lease)));
        };
        std::thread::Builder::new().name("mh-beats".to_owned()).spawn(run)?;
        Ok(Self { _stop: stop.drop_guard() })
    }
}

async fn beat_for_ever(broker: &dyn Broker, leases: &Leases, lease: Duration) {
    let mut ticks = tokio::time::interval(lease / 3);
    // After a stopped process goes on, one beat at once, not one for each that was missed.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        beat(broker, leases, lease).await;
        let lost = leases.lose_unconfirmed(lease * 2 / 3);
        if lost > 0 {
            tracing::warn!(
                tasks = lost,
                "the broker did not confirm leases in time; their handlers are stopped"
            );
        }
    }
}

async fn beat(broker: &dyn Broker, leases: &Leases, lease: Duration) {
    for batch in leases.to_renew().chunks(limits::MAX_BATCH) {
        let began = Instant::now();
        match tokio::time::timeout(lease / 3, broker.beat(batch, lease)).await {
            Ok(Ok(answers)) => {
                for (lease, answer) in batch.iter().zip(answers) {
                    match answer {
                        Beaten::Kept => leases.renewed(lease, began),
                        Beaten::Lost => leases.lose(lease),
                    }
                }
            }
            Ok(Err(error)) => tracing::warn!(error = %error.report(), "leases were not renewed"),
            Err(_) => tracing::warn!("leases were not renewed: the broker did not answer in time"),
        }
    }
}
