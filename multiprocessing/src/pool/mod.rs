//! Pools: functions called in processes, as Python's `Pool` and its executors do.

mod builder;
mod child;
mod line;
mod place;
mod promise;
mod sequence;
mod unit;
mod workers;

use std::{fmt, sync::Arc, time::Duration};

use manyhands_broker::{BrokerUrl, Error, ErrorKind, TaskName};
use manyhands_worker::function::{Function, name_of};
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;

pub(crate) use self::line::Line;
pub use self::{
    builder::{OnCrash, PoolBuilder},
    promise::AsyncResult,
    sequence::Results,
};
use self::{
    promise::Promise,
    unit::{Ended, Part, Sink, Unit},
};
use crate::{CallError, home::registered};

/// Into how many parts a call of many items is cut for each process, unless told otherwise.
const PARTS: usize = 4;

/// Some processes that call functions.
///
/// A call is given to whoever is free. A process that dies is replaced; what it was given is given to another, or has an error that says so,
/// as [`OnCrash`] has it: nothing waits for ever. Dropped, the pool is terminated.
pub struct Pool {
    shared: Arc<Shared>,
}

/// A pool, as all that works for it sees it.
pub(super) struct Shared {
    line: Arc<Line>,
    /// How many processes there are.
    hands: usize,
    /// How many bytes of arguments a unit may have.
    most: usize,
    /// Kills them.
    killing: CancellationToken,
}

impl Shared {
    fn add(&self, units: Vec<Unit>) -> Result<(), CallError> {
        if let Some(unit) = units.iter().find(|unit| unit.calls.len() > self.most) {
            let (count, function, bytes, most) = (unit.count, &unit.function, unit.calls.len(), self.most);
            let message =
                format!("{count} calls of {function} have {bytes} bytes of arguments: at most {most}");
            return Err(Error::invalid("call", message)
                .advise("use smaller chunks, or pass a reference")
                .into());
        }
        self.line.add(units)
    }
}

impl Pool {
    /// Starts a pool of so many processes of this box.
    ///
    /// # Errors
    /// What [`PoolBuilder::build`] says.
    pub fn new(processes: usize) -> Result<Self, Error> {
        Self::builder().processes(processes).build()
    }

    /// Opens a pool whose calls are done by workers, on this box or any other: those that serve the queue `pool` of this broker. They are
    /// programs whose main function is `manyhands::main(|app| app.function(…))`, from the same sources as this one.
    ///
    /// # Errors
    /// What [`PoolBuilder::connect`] says.
    pub fn connect(url: &BrokerUrl) -> Result<Self, Error> {
        Self::builder().connect(url)
    }

    /// Begins to describe a pool.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::new()
    }

    /// Calls a function with `args`, a tuple, and waits for its result.
    ///
    /// # Errors
    /// Why there is none.
    pub fn apply<A, F>(&self, function: F, args: A) -> Result<F::Output, CallError>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        F: Function<A>,
    {
        self.apply_async(function, args).get()
    }

    /// Calls a function with `args`, a tuple, and returns at once. What is wrong with the call is told by the result.
    pub fn apply_async<A, F>(&self, function: F, args: A) -> AsyncResult<F::Output>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        F: Function<A>,
    {
        let one = |ends: Vec<Ended>| {
            let result = ends.into_iter().flat_map(|ended| ended.read(1)).next();
            result.unwrap_or(Err(CallError::Taken))
        };
        self.call(name::<A, F>(function), Part::of(&[args]).map(|part| vec![part]), |_| Box::new(one))
    }

    /// As [`Pool::apply_async`], under the name that executors have.
    pub fn submit<A, F>(&self, function: F, args: A) -> AsyncResult<F::Output>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        F: Function<A>,
    {
        self.apply_async(function, args)
    }

    /// Calls a function with each item, and waits for all results, in order. Items go to the processes in chunks, four for each process, or
    /// more where they would be too large.
    ///
    /// # Errors
    /// The first error in the order of the items; all of them were called by then.
    pub fn map<A, F>(
        &self,
        function: F,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<F::Output>, CallError>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        F: Function<(A,)>,
    {
        self.map_async(function, items).get()
    }

    /// As [`Pool::map`], in chunks of so many items.
    ///
    /// # Errors
    /// As [`Pool::map`].
    pub fn map_chunked<A, F>(
        &self,
        function: F,
        items: impl IntoIterator<Item = A>,
        chunk: usize,
    ) -> Result<Vec<F::Output>, CallError>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        F: Function<(A,)>,
    {
        self.starmap_async(function, items.into_iter().map(|item| (item,)), Some(chunk)).get()
    }

    /// As [`Pool::map`], and returns at once.
    pub fn map_async<A, F>(
        &self,
        function: F,
        items: impl IntoIterator<Item = A>,
    ) -> AsyncResult<Vec<F::Output>>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        F: Function<(A,)>,
    {
        self.starmap_async(function, items.into_iter().map(|item| (item,)), None)
    }

    /// As [`Pool::map`], for items that are tuples of arguments.
    ///
    /// # Errors
    /// As [`Pool::map`].
    pub fn starmap<A, F>(
        &self,
        function: F,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<F::Output>, CallError>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        F: Function<A>,
    {
        self.starmap_async(function, items, None).get()
    }

    /// As [`Pool::starmap`], in chunks of so many items if that is said, and returns at once.
    pub fn starmap_async<A, F>(
        &self,
        function: F,
        items: impl IntoIterator<Item = A>,
        chunk: Option<usize>,
    ) -> AsyncResult<Vec<F::Output>>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        F: Function<A>,
    {
        let items: Vec<A> = items.into_iter().collect();
        let fair = items.len().div_ceil(PARTS * self.shared.hands.max(1)).max(1);
        let parts = match chunk {
            Some(chunk) => items.chunks(chunk.max(1)).map(Part::of).collect(),
            // Nobody said how large they are to be, so they are made to fit.
            None => {
                let mut parts = Vec::new();
                let all = items
                    .chunks(fair)
                    .try_for_each(|some| Part::that_fit(some, self.shared.most, &mut parts));
                all.map(|()| parts)
            }
        };
        let all = |sizes: Vec<usize>| -> promise::Read<Vec<F::Output>> {
            Box::new(move |ends| {
                let read =
                    ends.into_iter().zip(sizes).flat_map(|(ended, size)| ended.read::<F::Output>(size));
                read.collect()
            })
        };
        self.call(name::<A, F>(function), parts, all)
    }

    /// Calls a function with each item of an iterator, one a time for each process, and gives the results in order as they come: see
    /// [`Results`].
    pub fn imap<A, F, I>(&self, function: F, items: I) -> Results<I::IntoIter, A, F::Output>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        F: Function<(A,)>,
        I: IntoIterator<Item = A>,
    {
        self.imap_chunked(function, items, 1)
    }

    /// As [`Pool::imap`], in chunks of so many items.
    pub fn imap_chunked<A, F, I>(
        &self,
        function: F,
        items: I,
        chunk: usize,
    ) -> Results<I::IntoIter, A, F::Output>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        F: Function<(A,)>,
        I: IntoIterator<Item = A>,
    {
        self.results(function, items, chunk, true)
    }

    /// As [`Pool::imap`], in the order in which results come.
    pub fn imap_unordered<A, F, I>(&self, function: F, items: I) -> Results<I::IntoIter, A, F::Output>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        F: Function<(A,)>,
        I: IntoIterator<Item = A>,
    {
        self.imap_unordered_chunked(function, items, 1)
    }

    /// As [`Pool::imap_unordered`], in chunks of so many items.
    pub fn imap_unordered_chunked<A, F, I>(
        &self,
        function: F,
        items: I,
        chunk: usize,
    ) -> Results<I::IntoIter, A, F::Output>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        F: Function<(A,)>,
        I: IntoIterator<Item = A>,
    {
        self.results(function, items, chunk, false)
    }

    fn results<A, F, I>(
        &self,
        function: F,
        items: I,
        chunk: usize,
        ordered: bool,
    ) -> Results<I::IntoIter, A, F::Output>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        F: Function<(A,)>,
        I: IntoIterator<Item = A>,
    {
        let name = name::<(A,), F>(function);
        Results::new(Arc::clone(&self.shared), name, items.into_iter(), chunk, ordered)
    }

    /// Adds the units of a call; `read` is told how many calls each has.
    fn call<T: Send + 'static>(
        &self,
        function: Result<TaskName, CallError>,
        parts: Result<Vec<Part>, CallError>,
        read: impl FnOnce(Vec<usize>) -> promise::Read<T>,
    ) -> AsyncResult<T> {
        let failed = |error: CallError| AsyncResult::new(Promise::new(0, Box::new(|_| Err(error))));
        let (function, parts) = match function.and_then(|function| Ok((function, parts?))) {
            Ok(made) => made,
            Err(error) => return failed(error),
        };
        let promise = Promise::new(parts.len(), read(parts.iter().map(|part| part.count).collect()));
        let sink: Arc<dyn Sink> = Arc::new(Arc::clone(&promise));
        let units = parts.into_iter().enumerate().map(|(at, part)| part.unit(&function, &sink, at));
        match self.shared.add(units.collect()) {
            Ok(()) => AsyncResult::new(promise),
            Err(error) => failed(error),
        }
    }

    /// Takes no more calls. Those that were made go on.
    pub fn close(&self) {
        self.shared.line.close();
    }

    /// Waits until all calls and all processes of a closed pool have ended.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the pool was neither closed nor terminated: it would never end.
    pub fn join(&self) -> Result<(), Error> {
        self.joinable()?;
        self.shared.line.join(None);
        Ok(())
    }

    /// As [`Pool::join`], and waits at most so long.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] when they have not ended by then; as [`Pool::join`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), Error> {
        self.joinable()?;
        if self.shared.line.join(Some(timeout)) {
            return Ok(());
        }
        let message = format!("calls or processes of the pool have not ended after {timeout:?}");
        Err(Error::new(ErrorKind::Timeout, "join", message).advise("wait longer, or terminate() the pool"))
    }

    fn joinable(&self) -> Result<(), Error> {
        if self.shared.line.is_closed() {
            return Ok(());
        }
        Err(Error::invalid("join", "the pool is open, and would never end")
            .advise("close() or terminate() it first"))
    }

    /// Kills the processes. Calls that have not ended never will: their results are [`CallError::Terminated`].
    pub fn terminate(&self) {
        self.shared.line.stop(CallError::Terminated);
        self.shared.killing.cancel();
    }

    /// As [`Pool::close`] and [`Pool::join`], under the name that executors have.
    pub fn shutdown(&self) {
        self.close();
        self.shared.line.join(None);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.terminate();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("processes", &self.shared.hands).finish_non_exhaustive()
    }
}

/// The name of a function that may be called.
fn name<A, F: Function<A>>(function: F) -> Result<TaskName, CallError> {
    Ok(registered(name_of(&function), std::any::type_name::<F>(), "function({})")?)
}
