//! A handler that is a number of warm children, each replaced when it ends.

use std::{sync::Arc, time::Duration};

use manyhands_broker::{Payload, TaskName, limits};
use tokio::sync::{Mutex, Notify, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    Children, GOODBYE, Outfit,
    command::{over, stopped},
    protocol::{self, Answer, Said},
    spawner::Spawner,
    warm::{News, Warm, Wrong, too_long},
};
use crate::{
    Context, TaskError,
    handler::{Handler, Mode, Run},
    runner::expired,
};

/// How long to wait before a child is started again that ended before it had answered anything: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// How many children may refuse a task before that is a failure of the task.
const REFUSALS: u32 = 3;

/// Warm children of one program.
#[derive(Debug)]
pub(crate) struct Pool {
    name: TaskName,
    limit: Option<Duration>,
    processes: usize,
    /// Children that wait for a task.
    free: Arc<Semaphore>,
    jobs: mpsc::UnboundedSender<Job>,
}

/// A task for a child.
#[derive(Debug)]
struct Job {
    line: Vec<u8>,
    context: Context,
    /// How many children were gone before they had it.
    refused: u32,
    reply: oneshot::Sender<Result<Option<Payload>, TaskError>>,
}

/// Keeps one child alive, and gives it tasks.
#[derive(Debug)]
pub(super) struct Keeper {
    spawner: Spawner,
    outfit: Outfit,
    words: Vec<String>,
    free: Arc<Semaphore>,
    news: Arc<Notify>,
    /// Never more than were free.
    jobs: Arc<Mutex<mpsc::UnboundedReceiver<Job>>>,
    ending: CancellationToken,
    /// How many children in a row ended before they had answered anything.
    failures: u32,
}

/// What a child is after a task.
enum After {
    /// It waits for the next.
    Well,
    /// It is gone, and must be replaced: by its own fault or by ours.
    Gone { own_fault: bool },
    /// It was gone before it had the task.
    NotGiven(Job),
}

impl Pool {
    /// Describes the children, which are started by [`Children::begin`].
    pub(crate) fn new(
        children: &Children,
        outfit: Outfit,
        words: Vec<String>,
        processes: usize,
        news: Arc<Notify>,
    ) -> Self {
        let free = Arc::new(Semaphore::new(0));
        let (jobs, taken) = mpsc::unbounded_channel();
        let taken = Arc::new(Mutex::new(taken));
        for _ in 0..processes {
            let keeper = Keeper {
                spawner: children.spawner.clone(),
                outfit: outfit.clone(),
                words: words.clone(),
                free: Arc::clone(&free),
                news: Arc::clone(&news),
                jobs: Arc::clone(&taken),
                ending: children.ending.clone(),
                failures: 0,
            };
            children.add(keeper);
        }
        Self { name: outfit.name, limit: outfit.limit, processes, free, jobs }
    }
}

impl Handler for Pool {
    fn mode(&self) -> Mode {
        Mode::Process
    }

    fn room(&self) -> Option<usize> {
        Some(self.free.available_permits())
    }

    fn run_limit(&self) -> Option<Duration> {
        self.limit
    }

    fn processes(&self) -> usize {
        self.processes
    }

    fn run(&self, payload: &Payload, context: Context) -> Run {
        let line = protocol::task(&self.name, payload, &context);
        let (free, jobs) = (Arc::clone(&self.free), self.jobs.clone());
        Box::pin(async move {
            let line = line.map_err(|e| TaskError::bury(format!("the payload cannot be handed on: {e}")))?;
            tokio::select! {
                // The child that is free is this task's until it has answered, or is gone.
                permit = free.acquire() => permit.map_err(|_| stopped())?.forget(),
                () = context.stopped() => return Err(stopped()),
            }
            let (reply, answer) = oneshot::channel();
            jobs.send(Job { line, context, refused: 0, reply }).map_err(|_| stopped())?;
            answer.await.map_err(|_| stopped())?
        })
    }
}

impl Keeper {
    /// Until the pool ends.
    pub(super) async fn keep(mut self) {
        // A task that was to go to a child that was gone.
        let mut waiting: Option<Job> = None;
        loop {
            let Some(mut child) = self.start(&mut waiting).await else { return };
            if waiting.is_none() {
                self.offer();
            }
            let mut answered = 0;
            loop {
                let job = match waiting.take() {
                    Some(job) => job,
                    None => match self.next(&mut child).await {
                        Next::Job(job) => job,
                        Next::End => return child.dismiss(GOODBYE).await,
                        Next::Gone(why, owes) => {
                            let (status, words) = child.end().await;
                            self.failed(&format!("{why} ({status}){words}"));
                            if owes {
                                // Somebody counts on this child already: its task is taken up when the next one is there.
                                waiting = self.jobs.lock().await.recv().await;
                            }
                            break;
                        }
                    },
                };
                match self.run(child, job).await {
                    (After::Well, Some(well)) => {
                        self.failures = 0;
                        answered += 1;
                        if self.outfit.most_tasks.is_some_and(|most| answered >= most) {
                            well.dismiss(GOODBYE).await;
                            break;
                        }
                        child = well;
                        self.offer();
                    }
                    (After::NotGiven(job), _) => {
                        self.failed("it ended while it waited for a task");
                        waiting = Some(job);
                        break;
                    }
                    (After::Gone { own_fault }, _) => {
                        if own_fault {
                            self.failures += 1;
                        }
                        break;
                    }
                    (After::Well, None) => break,
                }
            }
        }
    }

    /// Says that a child is free.
    fn offer(&self) {
        self.free.add_permits(1);
        self.news.notify_one();
    }

    fn failed(&mut self, why: &str) {
        self.failures += 1;
        let (name, pause) = (&self.outfit.name, self.pause());
        tracing::warn!(task = %name, ?pause, "the handler's process is started again: {why}");
    }

    fn pause(&self) -> Duration {
        match self.failures {
            0 => Duration::ZERO,
            n => PAUSES.0.saturating_mul(1 << (n - 1).min(16)).min(PAUSES.1),
        }
    }

    /// Starts a child, again and again; `None` when the pool ends. A task that waits for it is not kept from stopping.
    async fn start(&mut self, waiting: &mut Option<Job>) -> Option<Warm> {
        loop {
            let pause = self.pause();
            let start = async {
                tokio::time::sleep(pause).await;
                Warm::start(&self.spawner, &self.outfit, &self.words).await
            };
            let stop = waiting.as_ref().map(|job| job.context.clone());
            let started = tokio::select! {
                started = start => started,
                () = self.ending.cancelled() => return None,
                () = told_to_stop(stop) => {
                    if let Some(job) = waiting.take() {
                        let _ = job.reply.send(Err(stopped()));
                    }
                    continue;
                }
            };
            match started {
                Ok(child) => return Some(child),
                Err(why) => self.failed(&why),
            }
        }
    }

    /// Waits for a task. A child that says anything meanwhile, or ends, is of no use.
    async fn next(&self, child: &mut Warm) -> Next {
        let jobs = &self.jobs;
        let job = async { jobs.lock().await.recv().await };
        let why = tokio::select! {
            biased;
            () = self.ending.cancelled() => return Next::End,
            news = child.news() => match news {
                News::Ended => "it ended while it waited for a task".to_owned(),
                News::Said(_) => "it spoke while it had no task".to_owned(),
                News::Wrong(wrong) => format!("while it had no task: {wrong}"),
            },
            job = job => return job.map_or(Next::End, Next::Job),
        };
        // It was offered: taken back, or somebody took it.
        let owes = match self.free.try_acquire() {
            Ok(permit) => {
                permit.forget();
                false
            }
            Err(_) => true,
        };
        Next::Gone(why, owes)
    }

    /// Runs a task in a child; what becomes of both.
    async fn run(&self, mut child: Warm, job: Job) -> (After, Option<Warm>) {
        let id = job.context.id().to_string();
        let heard = {
            let (stdin, said) = child.split();
            let give = Warm::give(stdin, &job.line);
            let listen = async {
                match said.recv().await {
                    Some(Ok(said)) => News::Said(said),
                    Some(Err(wrong)) => News::Wrong(wrong),
                    None => News::Ended,
                }
            };
            tokio::pin!(give, listen);
            let mut given = false;
            let limit = expired(job.context.limit(self.outfit.limit));
            tokio::pin!(limit);
            loop {
                tokio::select! {
                    biased;
                    news = &mut listen => break Heard::News(news),
                    () = job.context.stopped() => break Heard::Stop,
                    limit = &mut limit => break Heard::Limit(limit),
                    done = &mut give, if !given => match done {
                        Ok(()) => given = true,
                        Err(0) => break Heard::NotGiven,
                        Err(_) => break Heard::Deaf,
                    },
                }
            }
        };
        let gone = |own_fault| (After::Gone { own_fault }, None);
        let (answer, after) = match heard {
            Heard::News(News::Said(Said::Answer { id: answered, answer })) if answered == id => {
                let answer = judge(answer, job.context.result_wanted());
                (answer, (After::Well, Some(child)))
            }
            Heard::NotGiven if job.refused < REFUSALS => {
                child.end().await;
                return (After::NotGiven(Job { refused: job.refused + 1, ..job }), None);
            }
            Heard::NotGiven | Heard::Deaf | Heard::News(News::Ended) => {
                let (status, words) = child.end().await;
                let why = format!("the handler's process ended before it answered: {status}{words}");
                (Err(TaskError::retry(why)), gone(true))
            }
            Heard::News(News::Wrong(wrong @ Wrong::TooLong(_))) => {
                child.kill().await;
                (Err(TaskError::bury(wrong.to_string())), gone(true))
            }
            Heard::News(news) => {
                child.kill().await;
                let why = match news {
                    News::Wrong(wrong) => wrong.to_string(),
                    News::Said(Said::Answer { id, .. }) => {
                        format!("the handler answered for another task: {:.200}", format!("{id:?}"))
                    }
                    _ => "the handler said hello twice".to_owned(),
                };
                (Err(TaskError::retry(why)), gone(true))
            }
            Heard::Stop => {
                child.kill().await;
                (Err(stopped()), gone(false))
            }
            Heard::Limit(limit) => {
                child.kill().await;
                (Err(over(limit)), gone(false))
            }
        };
        // Whoever ran it may be gone; the lease runs out then.
        let _ = job.reply.send(answer);
        after
    }
}

/// What happens to a child that waits.
enum Next {
    Job(Job),
    End,
    /// It is of no use, and whether a task counts on it.
    Gone(String, bool),
}

/// What ends a run.
enum Heard {
    News(News),
    Stop,
    Limit(Duration),
    /// It read nothing of the task, and never will.
    NotGiven,
    /// It read a part of it.
    Deaf,
}

async fn told_to_stop(context: Option<Context>) {
    match context {
        Some(context) => context.stopped().await,
        None => std::future::pending().await,
    }
}

/// What an answer is for the task.
fn judge(answer: Answer, wanted: bool) -> Result<Option<Payload>, TaskError> {
    match answer {
        Answer::Done(_) if !wanted => Ok(None),
        Answer::Done(result) if result.len() > limits::MAX_PAYLOAD => Err(TaskError::bury(too_long(&result))),
        Answer::Done(result) => Ok(Some(result)),
        Answer::Retry(error) => Err(TaskError::retry(error)),
        Answer::Bury(error) => Err(TaskError::bury(error)),
    }
}
