//! SIGINT and SIGTERM, for commands that have something to say before they end.

use manyhands_broker::{Error, ErrorKind, Result};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Whether a signal came. From its making on, signals end nothing by themselves.
#[derive(Clone, Debug)]
pub(super) struct Signals(watch::Receiver<bool>);

impl Signals {
    /// Begins to listen. To be called inside a runtime.
    pub(super) fn listen(operation: &'static str) -> Result<Self> {
        let failed = |e| Error::new(ErrorKind::Internal, operation, "signals cannot be watched").because(e);
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let (came, heard) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                came.send_replace(true);
            }
        });
        Ok(Self(heard))
    }

    /// Completes when one came.
    pub(super) async fn came(mut self) {
        if self.0.wait_for(|came| *came).await.is_err() {
            // Nobody watches any more, so none will be heard of.
            std::future::pending::<()>().await;
        }
    }
}
