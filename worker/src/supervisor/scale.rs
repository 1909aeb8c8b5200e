//! A supervisor that has as many worker processes as the load needs.

use std::time::{Duration, Instant};

use manyhands_broker::{Broker, BrokerUrl, LiveWorker, QueueName, WorkerReport, all_live, connect};
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use crate::autoscale::{Bounds, Load, Sample, Scaler, Staff, Watch};

/// How often the broker is asked how the queues stand.
const EVERY: Duration = Duration::from_secs(1);

/// How often it is asked which other workers serve them, in such rounds.
const OTHERS: usize = 10;

/// How long to wait before another try to reach a broker that cannot be reached.
const AGAIN: Duration = Duration::from_secs(5);

/// What is asked of the broker, and what follows from it.
#[derive(Debug)]
pub(super) struct Scale {
    scaler: Scaler,
    url: BrokerUrl,
    sender: mpsc::UnboundedSender<Load>,
    loads: mpsc::UnboundedReceiver<Load>,
    /// How many slots each worker process has, and which queues, when that is known.
    slots: usize,
    queues: Vec<String>,
    /// Asks how those stand.
    looking: Option<AbortOnDropHandle<()>>,
}

impl Scale {
    /// Nothing is asked yet.
    pub(super) fn new(bounds: Bounds, processes: usize, url: BrokerUrl) -> Self {
        let (sender, loads) = mpsc::unbounded_channel();
        let scaler = Scaler::new(bounds, processes);
        Self { scaler, url, sender, loads, slots: 1, queues: Vec::new(), looking: None }
    }

    /// Changes the bounds; tells how many there are to be.
    pub(super) fn bind(&mut self, bounds: Bounds) -> usize {
        self.scaler.bind(bounds);
        self.scaler.wanted()
    }

    /// Notes what a worker process serves, and asks how that stands from now on.
    pub(super) fn serves(&mut self, queues: &[String], slots: usize) {
        self.slots = slots.max(1);
        // One of another version may not say which.
        if !queues.is_empty() && self.queues != queues {
            self.queues = queues.to_vec();
            let names = queues.iter().filter_map(|queue| QueueName::new(queue).ok()).collect();
            let looking = tokio::spawn(look(self.url.clone(), names, self.sender.clone()));
            self.looking = Some(AbortOnDropHandle::new(looking));
        }
    }

    /// Waits for the next load.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Load {
        match self.loads.recv().await {
            Some(load) => load,
            None => std::future::pending().await,
        }
    }

    /// Takes in a load where so many worker processes are ready; tells how many there are to be.
    pub(super) fn scale(&mut self, load: &Load, ready: usize) -> usize {
        self.scaler.scale(Instant::now(), load, Staff { workers: ready, slots: self.slots })
    }
}

/// Asks how the queues stand, once a second, for as long as anybody wants to know.
async fn look(url: BrokerUrl, queues: Vec<QueueName>, loads: mpsc::UnboundedSender<Load>) {
    let broker = loop {
        match connect(&url).await {
            Ok(broker) => break broker,
            Err(error) => {
                tracing::warn!(
                    "how the queues stand cannot be asked, so there are as many worker processes as before: {}",
                    error.report()
                );
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut watch, mut told, mut share) = (Watch::default(), false, 1.0);
    for round in 0_usize.. {
        ticks.tick().await;
        if round % OTHERS == 0 {
            // Without an answer it is as it was.
            share = own_share(&*broker, &queues).await.unwrap_or(share);
        }
        match Sample::take(&*broker, &queues).await {
            Ok(sample) => {
                told = false;
                let mut load = watch.add(Instant::now(), &sample);
                load.leased = (load.leased as f64 * share).round() as u64;
                if loads.send(load).is_err() {
                    return;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(
                        "how the queues stand cannot be asked, so there are as many worker processes as before: {}",
                        error.report()
                    );
                }
            }
        }
    }
}

/// Which part of all slots for these queues the worker processes of this supervisor have; `None` where that cannot be told.
async fn own_share(broker: &dyn Broker, queues: &[QueueName]) -> Option<f64> {
    let here = WorkerReport::here();
    let (mut own, mut all) = (0, 0);
    for LiveWorker { report, .. } in all_live(broker.workers()?).await.ok()? {
        if report.queues.iter().any(|queue| queues.contains(queue)) {
            all += report.slots;
            let ours = report.supervisor == Some(here.pid) && report.host == here.host;
            own += if ours { report.slots } else { 0 };
        }
    }
    (own > 0).then(|| own as f64 / all as f64)
}
