//! The calls that wait, and the workers that come to answer them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};
use uuid::Uuid;

use crate::{
    run::{Hello, Order},
    wire,
};

/// How long a worker may take to say for which call it comes.
const HELLO: Duration = Duration::from_secs(5);

/// How many may be about to.
const COMING: usize = 500;

/// After a failed accept. Without it, a process that is out of file descriptors would keep a core busy.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A worker that came to answer a call.
pub(crate) struct Newcomer {
    pub(crate) hello: Hello,
    pub(crate) stream: TcpStream,
}

/// The calls that wait for workers.
#[derive(Default)]
pub(crate) struct Calls(Mutex<HashMap<Uuid, mpsc::Sender<Newcomer>>>);

/// One of them, for as long as this is there.
pub(crate) struct Waiting<'c> {
    calls: &'c Calls,
    pub(crate) id: Uuid,
    pub(crate) newcomers: mpsc::Receiver<Newcomer>,
}

impl Calls {
    pub(crate) fn wait(&self) -> Waiting<'_> {
        let id = Uuid::new_v4();
        let (sender, newcomers) = mpsc::channel(1);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        Waiting { calls: self, id, newcomers }
    }

    fn sender(&self, id: Uuid) -> Option<mpsc::Sender<Newcomer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Brings workers to the calls for which they come, for ever.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(COMING));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let calls = Arc::clone(&self);
            tokio::spawn(async move {
                // Whoever says nothing, or something else, is no worker.
                let _ = timeout(HELLO, calls.introduce(stream)).await;
                drop(place);
            });
        }
    }

    async fn introduce(&self, mut stream: TcpStream) -> Option<()> {
        let _ = stream.set_nodelay(true);
        let frame = wire::read(&mut stream, wire::SHORT).await.ok()??;
        let hello: Hello = serde_json::from_slice(&frame).ok()?;
        let newcomer = Newcomer { stream, hello };
        let refused = match self.sender(newcomer.hello.call) {
            Some(sender) => sender.send(newcomer).await.err().map(|unsent| unsent.0),
            None => Some(newcomer),
        };
        if let Some(newcomer) = refused {
            newcomer.over().await;
        }
        Some(())
    }
}

impl Newcomer {
    /// Sends it away: the call has its answer, or nobody waits for it.
    pub(crate) async fn over(mut self) {
        // If it does not hear it, it comes again.
        let _ = wire::say(&mut self.stream, &Order::Over).await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.calls.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
