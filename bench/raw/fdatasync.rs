//! Raw limit: what one sync costs. Every durable answer waits for at least one.

use std::{fs::File, io::Write, path::Path, time::Instant};

use anyhow::Result;

use super::Measured;
use crate::{
    figures::percentile,
    settings::{Durability, Settings},
};

/// What is appended each time.
const BYTES: usize = 128;

pub(super) fn measure(folder: &Path, n: u64) -> Result<Measured> {
    let mut file = File::create(folder.join("fdatasync"))?;
    let mut took = Vec::new();
    let began = Instant::now();
    for _ in 0..n {
        file.write_all(&[7; BYTES])?;
        let write = Instant::now();
        file.sync_data()?;
        took.push(write.elapsed().as_secs_f64() * 1e3);
    }
    let seconds = began.elapsed().as_secs_f64();
    let settings = Settings {
        who: "append + fdatasync".to_owned(),
        payload: BYTES,
        batch: 1,
        durability: Durability::Full,
        journal: "none".to_owned(),
        n,
    };
    let took = (percentile(&mut took, 0.5), percentile(&mut took, 0.99));
    Ok(Measured { settings, per_second: n as f64 / seconds, took: Some(took) })
}
