//! How everything on the connections is called: within a time, and with all of them given up at the first error; and how what is on its
//! way is waited for.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use lapin::{
    Channel,
    options::QueueDeclareOptions,
    types::{FieldTable, ShortString},
};

use super::{
    error::{self, Doing},
    live::Live,
    topology,
};
use crate::Result;

/// How long an answer may take.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// How long a call may take to say why it fails when the connections are given up.
const LAST_WORD: Duration = Duration::from_millis(100);

/// How often connections are tried that may be silent because nobody is at their other end.
const PROBE: Duration = Duration::from_secs(5);

impl Live {
    /// Makes a call. Any error, and silence, is the end of the connections.
    pub(super) async fn call<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T> {
        self.call_doing(operation, Doing::Using, call).await
    }

    /// The same of a call that does this.
    pub(super) async fn call_doing<T>(
        &self,
        operation: &'static str,
        doing: Doing,
        call: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T> {
        self.try_call(operation, call).await?.map_err(|e| {
            self.end();
            error::refused(operation, doing, &e)
        })
    }

    /// Makes a call that may fail without being the end of the connections.
    pub(super) async fn try_call<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = lapin::Result<T>>,
    ) -> Result<lapin::Result<T>> {
        self.try_within(operation, call).await?.ok_or_else(|| {
            self.end();
            error::silent(operation)
        })
    }

    /// Makes a call on the publishing connection. There, silence is no reason to give up while the server takes nothing.
    pub(super) async fn call_publishing<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T> {
        if self.is_blocked() {
            return Err(error::blocked(operation));
        }
        match self.try_within(operation, call).await? {
            Some(Ok(answer)) => Ok(answer),
            None if self.is_blocked() => Err(error::blocked(operation)),
            failed => {
                self.end();
                Err(failed
                    .and_then(lapin::Result::err)
                    .map_or_else(|| error::silent(operation), |e| error::rabbitmq(operation, &e)))
            }
        }
    }

    /// What happens in the time of an answer; none if it does not.
    pub(super) async fn try_within<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = T>,
    ) -> Result<Option<T>> {
        let mut gone = self.gone.subscribe();
        let mut call = std::pin::pin!(call);
        tokio::select! {
            biased;
            answer = tokio::time::timeout(ANSWER, &mut call) => return Ok(answer.ok()),
            _ = gone.wait_for(|gone| *gone) => {}
        }
        // What ends its channel is often heard first by a consumer of it.
        tokio::time::timeout(LAST_WORD, call).await.map(Some).map_err(|_| error::lost(operation))
    }

    /// Two answers on a channel: what was on its way to us on it before is here after. Tried on 3.10: once is
    /// not enough, and two that are not awaited one after the other are not either.
    pub(super) async fn barrier(
        &self,
        operation: &'static str,
        on: &Channel,
        queue: &ShortString,
    ) -> Result<()> {
        for _ in 0..2 {
            self.ask_ready(operation, on, queue).await?;
        }
        *self.probed.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok(())
    }

    /// How many messages of a queue can be handed out, asked on a channel.
    pub(super) async fn ask_ready(
        &self,
        operation: &'static str,
        on: &Channel,
        queue: &ShortString,
    ) -> Result<usize> {
        let mut asked = 0;
        loop {
            let began = Instant::now();
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let ask = on.queue_declare(queue.clone(), passive, FieldTable::default());
            let found = self.call(operation, ask).await?;
            asked += 1;
            // What it sends comes before its answer, but not before one that is given in its place.
            let nothing = found.message_count() == 0 && found.consumer_count() == 0;
            if !nothing || began.elapsed() < topology::GIVEN_UP || asked == topology::ASKED {
                return Ok(usize::try_from(found.message_count()).unwrap_or(usize::MAX));
            }
        }
    }

    /// Waits until everything is read that was done before this call, whoever did it.
    pub(super) async fn sync(self: &Arc<Self>, operation: &'static str) -> Result<()> {
        // Who does something announces it to all inboxes before it says that it is done.
        self.barrier(operation, &self.control, &self.inbox).await?;
        self.read_inbox();
        self.readable(operation)
    }

    /// Asks both connections whether they are there, now and then.
    pub(super) async fn probe(&self) -> Result<()> {
        if self.probed.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < PROBE {
            return Ok(());
        }
        self.barrier("probe", &self.control, &self.inbox).await?;
        if self.is_blocked() {
            return Ok(());
        }
        let look = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let ask = self.talk.queue_declare(self.names.directory(), look, FieldTable::default());
        self.call_publishing("probe", ask).await.map(drop)
    }
}
