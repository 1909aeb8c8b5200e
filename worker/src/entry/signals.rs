//! Signals: the first SIGTERM or SIGINT drains, the second ends at once; on SIGHUP a supervisor replaces its worker processes.

use std::{
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use manyhands_broker::{Error, ErrorKind, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use crate::{Shutdown, supervisor::Order};

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
    let (mut terminate, mut interrupt) = (watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?);
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

/// Gives orders to a supervisor as signals come. To be called inside a runtime.
pub(super) fn orders() -> Result<mpsc::UnboundedReceiver<Order>> {
    let (mut terminate, mut interrupt, mut hangup) =
        (watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?, watch(SignalKind::hangup())?);
    let (sender, orders) = mpsc::unbounded_channel();
    let on_terminal = has_terminal();
    tokio::spawn(async move {
        loop {
            let order = tokio::select! {
                _ = terminate.recv() => Order::End,
                _ = interrupt.recv() => Order::End,
                // The end of the terminal that a program was started on is no order to go on without it.
                _ = hangup.recv() => if on_terminal && !has_terminal() { Order::End } else { Order::Replace },
            };
            if sender.send(order).is_err() {
                return;
            }
        }
    });
    Ok(orders)
}

fn watch(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|e| Error::new(ErrorKind::Internal, "start", "signals cannot be watched").because(e))
}

/// Whether the session that this process belongs to has a terminal.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}
