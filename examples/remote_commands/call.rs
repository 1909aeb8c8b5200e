//! One call: from a request to its answer, whatever becomes of the workers that run it.

use std::{pin::Pin, time::Duration};

use manyhands::{ErrorKind, NewTask, capabilities::Control};
use tokio::{net::TcpStream, time::Instant};

use crate::{
    answer::{Answer, Host, Ran, Request},
    calls::{Newcomer, Waiting},
    front::Front,
    run::{ENDED, Ended, Order, Run, STDERR, STDOUT},
    spool::Spool,
    wire,
};

/// How often a task is tried whose worker loses the front on the way, and not the other way round.
const ATTEMPTS: u32 = 3;

/// An answer, and the output that follows it.
pub(crate) struct Whole {
    pub(crate) answer: Answer,
    pub(crate) stdout: Spool,
    pub(crate) stderr: Spool,
}

impl From<Answer> for Whole {
    fn from(answer: Answer) -> Self {
        Self { answer, stdout: Spool::default(), stderr: Spool::default() }
    }
}

/// Answers a request; `None` if the caller goes away. What is dropped here takes the connection to the worker with it, and that the
/// command.
pub(crate) async fn answer(front: &Front, request: Request, caller: &TcpStream) -> Option<Whole> {
    if let Err(why) = front.list.check(&request) {
        return Some(Answer::Refused(why).into());
    }
    let wanted = request.deadline_ms.unwrap_or(u64::MAX).min(front.args.deadline_ms);
    let deadline = Instant::now() + Duration::from_millis(wanted);
    tokio::select! {
        whole = run(front, request, deadline) => Some(whole),
        () = tokio::time::sleep_until(deadline) => {
            Some(Answer::Late(format!("it was not done within {wanted} ms")).into())
        }
        () = gone(caller) => None,
    }
}

/// Returns when the caller has closed its side. One that has sent more already, and goes, is noticed when it is answered.
async fn gone(caller: &TcpStream) {
    if matches!(caller.peek(&mut [0]).await, Ok(1)) {
        std::future::pending::<()>().await;
    }
}

async fn run(front: &Front, request: Request, deadline: Instant) -> Whole {
    // Before the task is there: its worker may come at once.
    let waiting = front.calls.wait();
    let run = Run { request, front: front.answers, call: waiting.id };
    if let Err(answer) = enqueue(front, &run, deadline).await {
        return answer.into();
    }
    drop(run);
    follow(front, waiting, deadline).await
}

async fn enqueue(front: &Front, run: &Run, deadline: Instant) -> Result<(), Answer> {
    let failed = |error: manyhands::Error| {
        Answer::Failed(match error.kind() {
            ErrorKind::Full => "there is too much to be done; ask again later".to_owned(),
            _ => error.to_string(),
        })
    };
    let mut task = NewTask::of(run).map_err(failed)?.with_max_attempts(ATTEMPTS);
    // RabbitMQ cannot give a task up whose time is over. A worker takes it, asks here, and hears that nobody waits.
    if front.client.broker().capabilities().control == Control::Full {
        let left = deadline.saturating_duration_since(Instant::now());
        task = task.with_expires(left.max(Duration::from_millis(1)));
    }
    front.client.send_task(task).await.map(drop).map_err(failed)
}

/// What a worker says from when it may begin, to its end.
type Saying = Pin<Box<dyn Future<Output = Said> + Send>>;

enum Said {
    Whole(Box<(Ended, Spool, Spool)>),
    /// Its connection broke, or what it said makes no sense: nothing of it is used.
    Nothing,
    /// There is more of it than is taken.
    TooMuch,
    /// It cannot be kept here.
    NotKept(std::io::Error),
}

/// Listens to one worker after the other, to one at a time, until one has said all.
async fn follow(front: &Front, mut waiting: Waiting<'_>, deadline: Instant) -> Whole {
    let mut runs = 0;
    let mut current: Option<(u64, Host, Saying)> = None;
    loop {
        let said = tokio::select! {
            Some(newcomer) = waiting.newcomers.recv() => {
                // Another one has it if its fence is higher: the broker gave it the task of one that it takes for dead. RabbitMQ may
                // have a task twice, and one of the two is enough.
                if current.as_ref().is_some_and(|(fence, ..)| *fence >= newcomer.hello.fence) {
                    newcomer.over().await;
                } else {
                    runs += 1;
                    let (fence, worker) = (newcomer.hello.fence, newcomer.hello.worker.clone());
                    current = Some((fence, worker, Box::pin(listen(newcomer, deadline, front.args.max_output))));
                }
                continue;
            }
            said = async { match &mut current {
                Some((.., saying)) => saying.as_mut().await,
                None => std::future::pending().await,
            } } => said,
        };
        let Some((_, worker, _)) = current.take() else { continue };
        let (ended, stdout, stderr) = match said {
            Said::Whole(whole) => *whole,
            Said::Nothing => continue,
            Said::TooMuch => {
                let most = front.args.max_output;
                return Answer::Failed(format!("its output is too large: {most} bytes at most")).into();
            }
            Said::NotKept(error) => {
                return Answer::Failed(format!("its output cannot be kept: {error}")).into();
            }
        };
        return match ended {
            Ended::Exited { exit_code, signal, .. } => {
                let (out, err) = (stdout.bytes(), stderr.bytes());
                let answer = Answer::Ran(Ran { exit_code, signal, stdout: out, stderr: err, worker, runs });
                Whole { answer, stdout, stderr }
            }
            Ended::Refused(why) => Answer::Refused(why).into(),
            Ended::Failed(why) => Answer::Failed(why).into(),
        };
    }
}

async fn listen(newcomer: Newcomer, deadline: Instant, most: u64) -> Said {
    let Newcomer { mut stream, .. } = newcomer;
    let left = deadline.saturating_duration_since(Instant::now());
    let go = Order::Go { limit_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX) };
    if wire::say(&mut stream, &go).await.is_err() {
        return Said::Nothing;
    }
    let (mut stdout, mut stderr) = (Spool::default(), Spool::default());
    loop {
        let Ok(Some(frame)) = wire::read(&mut stream, wire::SHORT).await else { return Said::Nothing };
        let added = match frame.split_first() {
            Some((&STDOUT, bytes)) => stdout.add(bytes).await,
            Some((&STDERR, bytes)) => stderr.add(bytes).await,
            Some((&ENDED, json)) => {
                let Ok(ended) = serde_json::from_slice(json) else { return Said::Nothing };
                let (out, err) = (stdout.bytes(), stderr.bytes());
                if matches!(&ended, Ended::Exited { stdout, stderr, .. } if (*stdout, *stderr) != (out, err))
                {
                    return Said::Nothing;
                }
                // So that its task ends. If it does not hear it, it comes again, and hears it then.
                let _ = wire::say(&mut stream, &Order::Over).await;
                return Said::Whole(Box::new((ended, stdout, stderr)));
            }
            _ => return Said::Nothing,
        };
        if let Err(error) = added {
            return Said::NotKept(error);
        }
        if stdout.bytes() + stderr.bytes() > most {
            let _ = wire::say(&mut stream, &Order::Over).await;
            return Said::TooMuch;
        }
    }
}
