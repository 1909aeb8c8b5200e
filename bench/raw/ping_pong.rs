//! Raw limit: what it costs to wake another process and to be woken by it.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::Measured;
use crate::{
    actor::Actor,
    figures::percentile,
    roles::Role,
    settings::{Durability, Settings},
    work::PAYLOAD,
};

/// The other end: it sends back what it gets.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Echo {
    socket: PathBuf,
}

impl Echo {
    /// Until the first end closes.
    pub(crate) fn play(self) -> Result<()> {
        let mut stream = UnixStream::connect(self.socket)?;
        let mut buffer = [0; PAYLOAD];
        while stream.read_exact(&mut buffer).is_ok() {
            stream.write_all(&buffer)?;
        }
        Ok(())
    }
}

pub(super) fn measure(folder: &Path, n: u64) -> Result<Measured> {
    let socket = folder.join("ping-pong");
    let listener = UnixListener::bind(&socket)?;
    let other = Actor::start(&Role::Echo(Echo { socket: socket.clone() }))?;
    let (mut stream, _) = listener.accept()?;
    let mut buffer = [1; PAYLOAD];
    let mut took = Vec::new();
    let began = Instant::now();
    for _ in 0..n {
        let sent = Instant::now();
        stream.write_all(&buffer)?;
        stream.read_exact(&mut buffer)?;
        took.push(sent.elapsed().as_secs_f64() * 1e3);
    }
    let seconds = began.elapsed().as_secs_f64();
    drop(other);
    std::fs::remove_file(socket)?;
    let settings = Settings {
        who: "unix socket ping-pong, two processes".to_owned(),
        payload: PAYLOAD,
        batch: 1,
        durability: Durability::Normal,
        journal: "none".to_owned(),
        n,
    };
    let took = (percentile(&mut took, 0.5), percentile(&mut took, 0.99));
    Ok(Measured { settings, per_second: n as f64 / seconds, took: Some(took) })
}
