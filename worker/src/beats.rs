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

use futures_util::future::join_all;
use manyhands_broker::{
    Beat, Beaten, Broker,
    crash::{Point, at},
    limits,
    sabotage::{Defect, planted},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    leases::{Due, Leases},
    presence::Presence,
    slots::Slots,
};

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Beats {
    _stop: DropGuard,
}

impl Beats {
    /// Starts the thread. Leases last `lease` and are renewed every third of that. What the worker tells of itself, it tells from there.
    pub(crate) fn start(
        broker: Arc<dyn Broker>,
        leases: Arc<Leases>,
        lease: Duration,
        presence: Arc<Presence>,
        slots: Arc<Slots>,
    ) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let all = async move {
            let renew = renew_for_ever(&*broker, &leases, lease);
            let all = async { tokio::join!(renew, presence.tell(&*broker, &leases, &slots)) };
            stopped.run_until_cancelled(all).await
        };
        if planted(Defect::BeatsAmongHandlers) {
            tokio::spawn(all);
            return Ok(Self { _stop: stop.drop_guard() });
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let run = move || {
            runtime.block_on(all);
        };
        std::thread::Builder::new().name("mh-beats".to_owned()).spawn(run)?;
        Ok(Self { _stop: stop.drop_guard() })
    }
}

/// How long after what handlers said of their progress was told it is told again at the earliest.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Renews, gives up in time what cannot be renewed, and tells progress: three things, as the first may wait for an answer.
async fn renew_for_ever(broker: &dyn Broker, leases: &Leases, lease: Duration) {
    tokio::join!(
        beat_for_ever(broker, leases, lease),
        give_up_for_ever(leases, lease),
        tell_for_ever(broker, leases, lease)
    );
}

/// Somebody waits to hear how far a handler is, so that is not left to the next renewal. And nobody else tells: a renewal is tried
/// again and again, and would put back what was told meanwhile.
async fn tell_for_ever(broker: &dyn Broker, leases: &Leases, lease: Duration) {
    loop {
        let told = leases.to_tell();
        if told.is_empty() {
            leases.news().await;
            continue;
        }
        join_all(told.chunks(limits::MAX_BATCH).map(|batch| beat(broker, batch, lease))).await;
        tokio::time::sleep(TELL_EVERY.min(lease / 3)).await;
    }
}

async fn beat_for_ever(broker: &dyn Broker, leases: &Leases, lease: Duration) {
    let mut ticks = tokio::time::interval(lease / 3);
    // After a stopped process goes on, one beat at once, not one for each that was missed.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let held = leases.to_renew();
        // All at once: a call that is not answered must not keep the others from being made.
        join_all(held.chunks(limits::MAX_BATCH).map(|batch| beat_soon(broker, batch, lease))).await;
    }
}

async fn give_up_for_ever(leases: &Leases, lease: Duration) {
    let patience = lease * 2 / 3;
    loop {
        let oldest = leases.oldest().map(|age| patience.saturating_sub(age));
        // The timer counts in milliseconds: a moment later the oldest is certainly due.
        let due = tokio::time::sleep(oldest.unwrap_or(patience) + Duration::from_millis(1));
        tokio::select! {
            () = due => {}
            // Others that are claimed meanwhile are younger than all that are held, so they cannot be due before.
            () = leases.late() => {}
        }
        let lost = leases.lose_unconfirmed(patience);
        if lost > 0 {
            tracing::warn!(
                tasks = lost,
                "the broker did not confirm leases in time; their handlers are stopped"
            );
        }
    }
}

/// Beats, and tries again within the same third of the lease: the next beat would come just when they are given up.
async fn beat_soon(broker: &dyn Broker, batch: &[Due], lease: Duration) {
    let began = Instant::now();
    while !beat(broker, batch, lease).await && began.elapsed() < lease / 3 {
        tokio::time::sleep(lease / 30).await;
    }
}

/// Beats once, and tells whether the broker answered.
async fn beat(broker: &dyn Broker, batch: &[Due], lease: Duration) -> bool {
    let began = Instant::now();
    let beats: Vec<Beat> = batch.iter().map(|due| due.beat.clone()).collect();
    at(Point::BeatsAsking);
    match tokio::time::timeout(lease / 3, broker.beat(&beats, lease)).await {
        Ok(Ok(answers)) => {
            at(Point::BeatsAnswered);
            for (Due { hold, beat }, answer) in batch.iter().zip(answers) {
                match answer {
                    Beaten::Kept => hold.renewed(beat, began),
                    Beaten::Cancelled => {
                        hold.renewed(beat, began);
                        hold.cancelled();
                    }
                    Beaten::Lost => hold.lose(&beat.lease),
                }
            }
            return true;
        }
        Ok(Err(error)) => tracing::warn!(error = %error.report(), "leases were not renewed"),
        Err(_) => tracing::warn!("leases were not renewed: the broker did not answer in time"),
    }
    false
}
