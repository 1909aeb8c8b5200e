//! A load: so many requests, so many a second if the machine can, over so many connections that are kept.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::scene::{Connection, Scene, squared};

/// What each body has besides its number. To keep it would show.
const BLANK: usize = 8 << 10;

/// Requests of a load, each with a number of its own.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) requests: u64,
    /// A second, all connections together.
    pub(crate) rate: u64,
}

/// What was answered, and how often.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) by_status: BTreeMap<u16, u64>,
    /// Of those with a result, in ms, sorted.
    pub(crate) times: Vec<f64>,
    pub(crate) seconds: f64,
}

impl Tally {
    pub(crate) fn of(&self, status: u16) -> u64 {
        self.by_status.get(&status).copied().unwrap_or_default()
    }

    /// Fails unless each request was answered, and by nothing but these.
    pub(crate) fn only(&self, requests: u64, statuses: &[u16]) {
        assert_eq!(self.by_status.values().sum::<u64>(), requests, "each is answered: {self:?}");
        let others: Vec<_> = self.by_status.keys().filter(|status| !statuses.contains(status)).collect();
        assert!(others.is_empty(), "answered with {others:?}: {:?}", self.by_status);
    }

    pub(crate) fn figures(&self) -> String {
        let at = |part: f64| {
            self.times.get((self.times.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN)
        };
        let requests: u64 = self.by_status.values().sum();
        let (seconds, rate) = (self.seconds, requests as f64 / self.seconds);
        format!(
            "{requests} requests in {seconds:.1} s ({rate:.0}/s): {:?}; 200 after p50 {:.0} ms, p99 {:.0} ms",
            self.by_status,
            at(0.5),
            at(0.99)
        )
    }
}

impl Load {
    /// Sends all of it, and calls `every` with how many were sent so far, after each hundred.
    pub(crate) async fn run(self, scene: &Scene, mut every: impl AsyncFnMut(u64)) -> Tally {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (next, start, address) = (Arc::new(AtomicU64::new(0)), Instant::now(), scene.address);
        let (told, mut hundreds) = tokio::sync::mpsc::unbounded_channel();
        let mut connections = JoinSet::new();
        for _ in 0..self.connections {
            let (tally, next, told) = (Arc::clone(&tally), Arc::clone(&next), told.clone());
            connections.spawn(async move {
                let mut connection = Connection::open(address).await.unwrap();
                let blank = " ".repeat(BLANK);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= self.requests {
                        return;
                    }
                    if number % 100 == 99 {
                        let _ = told.send(number + 1);
                    }
                    let due = start + Duration::from_micros(number * 1_000_000 / self.rate);
                    tokio::time::sleep_until(due.into()).await;
                    let asked = Instant::now();
                    let answer = connection.post(&format!("{{\"number\": {number}{blank}}}")).await;
                    let mut tally = tally.lock().unwrap();
                    *tally.by_status.entry(answer.status.as_u16()).or_default() += 1;
                    match answer.status.as_u16() {
                        200 => {
                            assert_eq!(answer.body, squared(number), "the answer to another question");
                            tally.times.push(asked.elapsed().as_secs_f64() * 1000.0);
                        }
                        429 | 503 => assert_eq!(answer.header("retry-after"), "1", "{answer:?}"),
                        _ => {}
                    }
                }
            });
        }
        drop(told);
        while let Some(sent) = hundreds.recv().await {
            every(sent).await;
        }
        while let Some(ended) = connections.join_next().await {
            ended.unwrap();
        }
        let mut tally = Arc::into_inner(tally).unwrap().into_inner().unwrap();
        tally.times.sort_by(f64::total_cmp);
        tally.seconds = start.elapsed().as_secs_f64();
        tally
    }
}
