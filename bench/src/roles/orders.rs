//! The orders that a role gets, line by line.

use std::{
    future::Future,
    io::{BufRead, Write},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tokio::sync::mpsc;

/// Lines of standard input.
#[derive(Debug)]
pub(crate) struct Orders(mpsc::UnboundedReceiver<String>);

impl Orders {
    /// Says that this process is ready, and waits until it may begin.
    ///
    /// # Cancel safety
    /// An order is lost.
    pub(crate) async fn wait(&mut self) -> Result<()> {
        say(&"ready")?;
        self.next().await
    }

    /// Waits for the next order.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<()> {
        self.0.recv().await.context("nobody gives orders any more")?;
        Ok(())
    }
}

/// Runs a role as a program of users runs: on all cores. Ends it early when nobody gives orders any more.
pub(super) fn obey<R: Future<Output = Result<()>>>(role: impl FnOnce(Orders) -> R) -> Result<()> {
    let (sender, orders) = mpsc::unbounded_channel();
    let (alive, mut gone) = mpsc::channel::<()>(1);
    std::thread::Builder::new().name("orders".to_owned()).spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
        drop(alive);
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = role(Orders(orders)) => ended,
            _ = gone.recv() => bail!("nobody waits for the answer any more"),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// Answers, with a line.
pub(crate) fn say(answer: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    let mut output = std::io::stdout().lock();
    output.write_all(&line)?;
    Ok(output.flush()?)
}
