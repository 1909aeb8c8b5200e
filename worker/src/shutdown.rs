//! How a worker is told to end.

use tokio_util::sync::CancellationToken;

/// Two orders, given once each: stop claiming and finish what runs; and end at once. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    stop: CancellationToken,
    abort: CancellationToken,
}

impl Shutdown {
    /// Neither order is given yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that is given both orders with this one, and can be given them alone.
    pub(crate) fn child(&self) -> Self {
        Self { stop: self.stop.child_token(), abort: self.abort.child_token() }
    }

    /// Claims no more. Running tasks get the worker's grace, then are stopped and given back.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Stops running tasks at once and gives them back.
    pub fn abort(&self) {
        self.stop.cancel();
        self.abort.cancel();
    }

    /// Whether either order was given.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Completes when either order was given.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    pub(crate) async fn aborting(&self) {
        self.abort.cancelled().await;
    }
}
