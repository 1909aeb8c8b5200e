//! Raw limit: one round trip to Redis, PING.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{
    Measured,
    redis::{Raw, settings},
};
use crate::figures::percentile;

#[expect(clippy::disallowed_methods, reason = "how long a server sleeps is what is measured with")]
pub(super) fn measure(n: u64, pause: Duration) -> Result<Measured> {
    let mut raw = Raw::start()?;
    let mut took = Vec::new();
    let began = Instant::now();
    for _ in 0..n {
        std::thread::sleep(pause);
        let sent = Instant::now();
        redis::cmd("PING").query::<String>(&mut raw.connection)?;
        took.push(sent.elapsed().as_secs_f64() * 1e3);
    }
    let per_second = n as f64 / began.elapsed().as_secs_f64();
    let took = (percentile(&mut took, 0.5), percentile(&mut took, 0.99));
    Ok(Measured { settings: settings("PING", 1, n), per_second, took: Some(took) })
}
