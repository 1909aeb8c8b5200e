//! A thread for a session's connections, with a runtime of its own.
//!
//! Calls come from any runtime, beats from the worker's own thread among them, and none of them depends on another runtime
//! being free.

use tokio::{runtime::Handle, sync::oneshot};

use crate::{Error, ErrorKind, Result};

/// The thread; it ends, with all that runs on it, when this is dropped.
#[derive(Debug)]
pub(super) struct SessionThread {
    runtime: Handle,
    _stop: oneshot::Sender<()>,
}

impl SessionThread {
    /// Starts it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the system gives no thread.
    pub(super) fn start(name: &str) -> Result<Self> {
        let refused = |e: std::io::Error| {
            Error::new(ErrorKind::Unavailable, "connect", "no thread can be started for the connection")
                .because(e)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = move || {
            // Dropping the other end is the order to stop, so the error is what is waited for.
            let _ = runtime.block_on(stopped);
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(refused)?;
        Ok(Self { runtime: handle, _stop: stop })
    }

    /// Runs a call on the thread. It goes on when the caller stops waiting.
    ///
    /// # Errors
    /// What the call fails with; [`ErrorKind::Internal`] when it panics.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.runtime.spawn(call).await.map_err(|e| {
            Error::new(ErrorKind::Internal, operation, "the connection's thread ended").because(e)
        })?
    }

    /// The runtime of the thread.
    #[cfg(feature = "redis")]
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Lets something go on beside the calls.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(work);
    }
}
