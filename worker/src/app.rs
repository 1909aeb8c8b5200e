//! What a worker can do: its handlers, and the queues that it configures.

use std::{collections::BTreeMap, fmt, future::Future, sync::Arc};

use manyhands_broker::{Error, QueueName, QueueOptions, Result, Task, TaskName};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Notify;

use crate::{
    Context, TaskError,
    function::{self, Function, FunctionHandler, Functions, Plain, Run},
    handler::{AsyncHandler, BlockingHandler, Handler, Mode},
};

/// A set of handlers. Registration is explicit; two handlers of one name are refused when the worker is built.
#[derive(Default)]
pub struct App {
    pub(crate) handlers: BTreeMap<TaskName, Registered>,
    pub(crate) options: Vec<(QueueName, QueueOptions)>,
    pub(crate) feeds: Vec<(QueueName, QueueName)>,
    functions: Functions,
    /// The threads of all functions.
    pub(crate) crew: Arc<function::Crew>,
    /// Rung when a handler in processes has room again.
    pub(crate) news: Arc<Notify>,
    /// The first thing that is wrong; told when the worker is built, so that registration reads as a chain.
    error: Option<Error>,
}

/// A handler, and the queue that its tasks go to by default.
#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) queue: QueueName,
}

impl App {
    /// An app without handlers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an async handler: one that mostly waits. Many run at a time in a process, and each is dropped at its
    /// next await when it must stop.
    #[must_use]
    pub fn handle<T, F, R>(self, function: F) -> Self
    where
        T: Task,
        F: Fn(T, Context) -> R + Send + Sync + 'static,
        R: Future<Output = Result<T::Output, TaskError>> + Send + 'static,
    {
        self.add::<T>(Arc::new(AsyncHandler::<T, F>::new(function)))
    }

    /// Adds a blocking handler: one that computes, or waits in ways that block a thread. It runs on a thread of its own,
    /// one a core by default, and can only be told to stop ([`Context::cancelled`]).
    #[must_use]
    pub fn handle_blocking<T, F>(self, function: F) -> Self
    where
        T: Task,
        F: Fn(T, &Context) -> Result<T::Output, TaskError> + Send + Sync + 'static,
    {
        self.add::<T>(Arc::new(BlockingHandler::<T, F>::new(function)))
    }

    /// Adds a plain function, which a pool of processes calls: of this box, or through a broker the pool of this worker. Its
    /// tasks go to the queue [`pool`](function::QUEUE). It runs on a thread, one a core by default, and is given back where it would wait
    /// behind one that takes long.
    #[must_use]
    pub fn function<A, F>(self, function: F) -> Self
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        F: Function<A>,
    {
        let name = function::name_of(&function);
        self.add_function(name, Plain::new(function))
    }

    /// Adds a type whose values are run in processes of their own.
    #[must_use]
    pub fn runs<T: Run>(self) -> Self {
        self.add_function(function::name_of_run::<T>(), Plain::<_, (T,)>::new(function::run_value::<T>))
    }

    fn add_function<A, F>(mut self, name: Result<TaskName>, plain: Plain<F, A>) -> Self
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        F: Function<A>,
    {
        match name.and_then(|name| Ok((name, QueueName::new(function::QUEUE)?))) {
            Ok((name, queue)) => {
                let calls: Arc<dyn function::Calls> = Arc::new(plain);
                self.functions.0.insert(name.clone(), Arc::clone(&calls));
                let crew = Arc::clone(&self.crew);
                self.add_named(name, queue, Arc::new(FunctionHandler::new(calls, crew)))
            }
            Err(error) => {
                self.fail(error);
                self
            }
        }
    }

    /// The functions, if nothing was wrong with the app.
    pub(crate) fn into_functions(mut self) -> Result<Functions> {
        self.error.take().map_or(Ok(self.functions), Err)
    }

    /// Configures a queue when the worker starts. Every process that configures it must do so alike.
    #[must_use]
    pub fn queue(mut self, name: &str, options: QueueOptions) -> Self {
        match QueueName::new(name) {
            Ok(name) => self.options.push((name, options)),
            Err(error) => self.fail(error),
        }
        self
    }

    /// Says that handlers of `queue` hand tasks on to `next`: while `next` is full, nothing more is claimed from `queue`.
    #[must_use]
    pub fn feeds(mut self, queue: &str, next: &str) -> Self {
        match (QueueName::new(queue), QueueName::new(next)) {
            (Ok(queue), Ok(next)) => self.feeds.push((queue, next)),
            (Err(error), _) | (_, Err(error)) => self.fail(error),
        }
        self
    }

    fn add<T: Task>(mut self, handler: Arc<dyn Handler>) -> Self {
        match (TaskName::new(T::NAME), QueueName::new(T::QUEUE)) {
            (Ok(name), Ok(queue)) => return self.add_named(name, queue, handler),
            (Err(error), _) | (_, Err(error)) => self.fail(error),
        }
        self
    }

    /// Adds a handler of any sort.
    pub(crate) fn add_named(mut self, name: TaskName, queue: QueueName, handler: Arc<dyn Handler>) -> Self {
        if self.handlers.insert(name.clone(), Registered { handler, queue }).is_some() {
            let message = format!("two handlers are registered for tasks named \"{name}\"");
            self.fail(
                Error::invalid("register", message)
                    .advise("give one of the two another name; the configuration file names handlers, too"),
            );
        }
        self
    }

    /// Lets a handler that is there run in processes of its own, by this one, and on another queue if one is given.
    #[cfg(feature = "cli")]
    pub(crate) fn isolate(&mut self, name: &TaskName, by: Arc<dyn Handler>, queue: Option<QueueName>) {
        if let Some(registered) = self.handlers.get_mut(name) {
            registered.handler = by;
            if let Some(queue) = queue {
                registered.queue = queue;
            }
        }
    }

    /// Whether nothing was registered, rightly or wrongly.
    #[cfg(feature = "cli")]
    pub(crate) fn is_empty(&self) -> bool {
        self.handlers.is_empty() && self.error.is_none()
    }

    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    /// The app, if nothing was wrong with it.
    pub(crate) fn checked(mut self) -> Result<Self> {
        match self.error.take() {
            Some(error) => Err(error),
            None if self.handlers.is_empty() => Err(Error::invalid("register", "the worker has no handler")
                .advise("add one: app.handle(function)")),
            None => Ok(self),
        }
    }

    /// The queues that the handlers name, each once, by name.
    pub(crate) fn queues(&self) -> Vec<QueueName> {
        let mut queues: Vec<_> = self.handlers.values().map(|registered| registered.queue.clone()).collect();
        queues.sort();
        queues.dedup();
        queues
    }

    /// The handlers that tasks of a queue may be for: those that name it, else any.
    fn handlers_of(&self, queue: &QueueName) -> Vec<&Arc<dyn Handler>> {
        let any_named = self.handlers.values().any(|registered| registered.queue == *queue);
        let concerned = |registered: &&Registered| registered.queue == *queue || !any_named;
        self.handlers.values().filter(concerned).map(|registered| &registered.handler).collect()
    }

    /// Which slots the tasks of a queue take: those of processes if any of its handlers is one, else those of threads if any
    /// of them blocks, else those of functions, as the claim cannot choose by name.
    pub(crate) fn mode_of(&self, queue: &QueueName) -> Mode {
        let modes: Vec<_> = self.handlers_of(queue).iter().map(|handler| handler.mode()).collect();
        let scarce =
            [Mode::Process, Mode::Blocking, Mode::Function].into_iter().find(|mode| modes.contains(mode));
        scarce.unwrap_or(Mode::Async)
    }

    /// How many tasks of a queue can start now, as far as its handlers know: where any of them runs in processes, one of these must be
    /// free, as the claim cannot choose by name.
    pub(crate) fn room_of(&self, queue: &QueueName) -> usize {
        let handlers = self.handlers_of(queue);
        let rooms = handlers.iter().filter_map(|handler| handler.room());
        let room = rooms.reduce(usize::saturating_add).unwrap_or(usize::MAX);
        // All functions share theirs.
        let called = handlers.iter().any(|handler| handler.mode() == Mode::Function);
        if called { room.min(self.crew.room()) } else { room }
    }

    /// Whether each task of a queue runs alone in a process, so that whoever crashes takes nobody along.
    pub(crate) fn isolates(&self, queue: &QueueName) -> bool {
        let handlers = self.handlers_of(queue);
        !handlers.is_empty() && handlers.iter().all(|handler| handler.mode() == Mode::Process)
    }

    /// How many processes the handlers have.
    pub(crate) fn processes(&self) -> usize {
        self.handlers.values().map(|registered| registered.handler.processes()).sum()
    }

    /// How many tasks these may have at a time.
    pub(crate) fn process_slots(&self) -> usize {
        self.handlers.values().map(|registered| registered.handler.slots()).sum()
    }

    pub(crate) fn feeds_of(&self, queue: &QueueName) -> Vec<QueueName> {
        self.feeds.iter().filter(|(from, _)| from == queue).map(|(_, next)| next.clone()).collect()
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("handlers", &self.handlers.keys().collect::<Vec<_>>())
            .field("options", &self.options)
            .field("feeds", &self.feeds)
            .finish_non_exhaustive()
    }
}
