//! Signals: the first SIGTERM or SIGINT drains, the second ends at once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use manyhands_broker::{Error, ErrorKind, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::Shutdown;

/// How many signals came.
#[derive(Clone, Debug, Default)]
pub struct Signals(Arc<AtomicUsize>);

impl Signals {
    /// How many so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Gives orders to end as signals come. To be called inside a runtime.
///
/// # Errors
/// [`ErrorKind::Internal`] when the system lets no signals be watched.
pub fn until_signal() -> Result<(Shutdown, Signals)> {
    let failed = |e| Error::new(ErrorKind::Internal, "start", "signals cannot be watched").because(e);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (shutdown, signals) = (Shutdown::new(), Signals::default());
    let (orders, counter) = (shutdown.clone(), signals.clone());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            match counter.0.fetch_add(1, Ordering::SeqCst) {
                0 => orders.stop(),
                _ => orders.abort(),
            }
        }
    });
    Ok((shutdown, signals))
}
