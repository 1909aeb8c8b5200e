//! What holds handlers and counts them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use manyhands_worker::{App, Context};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
};

use super::{Job, PATIENCE, soon};

/// Holds handlers until it is opened, for so many of them.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets so many through.
    pub(crate) fn open(&self, many: usize) {
        self.0.add_permits(many);
    }

    pub(crate) async fn pass(&self) {
        soon("the gate is opened", self.0.acquire()).await.unwrap().forget();
    }

    /// As [`Gate::pass`], on a thread of its own.
    pub(crate) fn pass_blocking(&self) {
        Handle::current().block_on(self.pass());
    }
}

/// Counts what is inside at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauge {
    inside: Arc<watch::Sender<usize>>,
    most: Arc<AtomicUsize>,
}

impl Gauge {
    /// Inside until what is returned is dropped.
    pub(crate) fn enter(&self) -> OnDrop<impl FnOnce() + Send + use<>> {
        self.inside.send_modify(|inside| {
            *inside += 1;
            self.most.fetch_max(*inside, Ordering::SeqCst);
        });
        let inside = Arc::clone(&self.inside);
        OnDrop::new(move || inside.send_modify(|inside| *inside -= 1))
    }

    pub(crate) fn inside(&self) -> usize {
        *self.inside.borrow()
    }

    /// Waits until so many are inside.
    pub(crate) async fn until(&self, wanted: usize) {
        let mut changes = self.inside.subscribe();
        let what = format!("{wanted} handlers run");
        soon(&what, changes.wait_for(|inside| *inside == wanted)).await.unwrap();
    }

    /// The high-water mark.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// Does something when it is dropped.
#[derive(Debug)]
pub(crate) struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    pub(crate) fn new(call: F) -> Self {
        Self(Some(call))
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}

/// Jobs that wait at the gate and are counted while they are inside.
pub(crate) fn gated(gate: &Gate, inside: &Gauge) -> App {
    let (gate, inside) = (gate.clone(), inside.clone());
    App::new().handle(move |Job(_), _| {
        let (gate, inside) = (gate.clone(), inside.enter());
        async move {
            gate.pass().await;
            drop(inside);
            Ok(())
        }
    })
}

/// What a blocking handler does that listens: it goes on until it is told to stop. Tells whether it was.
pub(crate) fn listen(context: &Context) -> bool {
    let began = Instant::now();
    while !context.cancelled() && began.elapsed() < PATIENCE {
        // A context can only be asked.
        std::thread::park_timeout(std::time::Duration::from_millis(1));
    }
    context.cancelled()
}
