//! The front: one HTTP server over one queue.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use anyhow::Context as _;
use hyper::{
    Method, Request, StatusCode, body::Incoming, header::ALLOW, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use manyhands::{
    BrokerUrl, Client, NewTask, Outcome, QueueName, QueueOptions, Task, TaskId, Wanted,
    capabilities::{Control, Results},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    answers::Answers,
    http::{self, Answer},
    intake::{Asked, Intake, PATIENCE, Reply},
    job::Square,
    stop::Signals,
};

#[derive(clap::Args)]
pub(crate) struct FrontArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// How many requests may be queued or worked on: what all back ends do before the deadline is over, and no more
    #[arg(long, value_name = "N", default_value_t = 1000)]
    capacity: u64,

    /// How long a request may wait for its answer
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    deadline_ms: u64,

    /// How long an answer is kept that is asked for later, and how long its task may wait for a back end
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    keep_ms: u64,

    /// How many connections are served at a time. Each has one request under way, and one body in memory
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,

    /// How many bytes the body of a request may have
    #[arg(long, value_name = "BYTES", default_value_t = 16 * 1024)]
    max_body: usize,
}

/// How long a connection may be silent between two requests, or take for the head of one.
const SILENT: Duration = Duration::from_secs(10);

/// How long answers that are written may take at the end, once their deadlines are over.
const LINGER: Duration = Duration::from_secs(2);

/// After a failed accept. Without it, a process that is out of file descriptors would keep a core busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the connections share.
struct Front {
    client: Client,
    queue: QueueName,
    args: FrontArgs,
    asked: mpsc::Sender<Asked>,
}

/// Serves until it is told to end, then answers what is under way; a second signal ends it at once.
pub(crate) async fn front(url: &BrokerUrl, args: FrontArgs) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let client = Client::connect(url).await?.with_patience(PATIENCE);
    let queue = QueueName::new(Square::QUEUE)?;
    let options = QueueOptions::default().with_capacity(args.capacity);
    client.broker().declare(&queue, Some(&options)).await?;
    let listener = TcpListener::bind(args.listen);
    let listener = listener.await.with_context(|| format!("cannot listen on {}", args.listen))?;
    println!("listening on http://{}", listener.local_addr()?);

    // No more can be on their way than there are connections.
    let (asked, asking) = mpsc::channel(args.connections as usize);
    let (waiting, newcomers) = mpsc::channel(args.connections as usize);
    tokio::spawn(Intake { client: client.clone(), queue: queue.clone(), options, waiting }.run(asking));
    tokio::spawn(Answers { broker: Arc::clone(client.broker()), queue: queue.clone() }.run(newcomers));
    let front = Arc::new(Front { client, queue, args, asked });
    let linger = front.deadline() + LINGER;
    let mut connections = JoinSet::new();
    let (stop, stopping) = watch::channel(());
    serve(&front, listener, &mut signals, &mut connections, &stopping).await;
    drop(stop);
    let all_answered = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        _ = tokio::time::timeout(linger, all_answered) => {}
        () = signals.next() => {}
    }
    Ok(())
}

/// Takes connections until a signal comes. Those that find no place wait in the listener's backlog.
async fn serve(
    front: &Arc<Front>,
    listener: TcpListener,
    signals: &mut Signals,
    connections: &mut JoinSet<()>,
    stopping: &watch::Receiver<()>,
) {
    let places = Arc::new(Semaphore::new(front.args.connections as usize));
    let accept = async || {
        let place = Arc::clone(&places).acquire_owned().await.ok();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return (stream, place),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    };
    loop {
        tokio::select! {
            () = signals.next() => return,
            (stream, place) = accept() => {
                let (front, stopping) = (Arc::clone(front), stopping.clone());
                connections.spawn(async move {
                    converse(front, stream, stopping).await;
                    drop(place);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Answers the requests of one connection, one after the other. Told to stop, it answers the one that is under way.
async fn converse(front: Arc<Front>, stream: TcpStream, mut stopping: watch::Receiver<()>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let front = Arc::clone(&front);
        async move { Ok::<_, Infallible>(front.answer(request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(SILENT);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // An error here is the client's doing.
    tokio::select! {
        _ = connection.as_mut() => return,
        // Nothing is ever sent: that the other end is dropped is the word.
        _ = stopping.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

impl Front {
    fn deadline(&self) -> Duration {
        Duration::from_millis(self.args.deadline_ms)
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let deadline = Instant::now() + self.deadline();
        let path = request.uri().path();
        let allowed = match (path, path.strip_prefix("/tasks/"), request.method()) {
            ("/squares", _, &Method::POST) => return self.square(request, deadline).await,
            (_, Some(id), &Method::GET) => return self.task(id, deadline).await,
            ("/squares", ..) => "POST",
            (_, Some(_), _) => "GET",
            _ => return http::error(StatusCode::NOT_FOUND, "there is /squares, and /tasks/ID"),
        };
        let answer = http::error(StatusCode::METHOD_NOT_ALLOWED, &format!("only {allowed} is answered"));
        http::with(answer, ALLOW, allowed)
    }

    /// Queues a request, and waits for what becomes of it.
    async fn square(&self, request: Request<Incoming>, deadline: Instant) -> Answer {
        let later = http::respond_async(request.headers());
        let Ok(body) = timeout_at(deadline, http::read(request.into_body(), self.args.max_body)).await else {
            return http::error(StatusCode::REQUEST_TIMEOUT, "the body took too long");
        };
        let body = match body {
            Ok(body) => body,
            Err(answer) => return answer,
        };
        let square: Square = match serde_json::from_slice(&body) {
            Ok(square) => square,
            Err(why) => return http::error(StatusCode::BAD_REQUEST, &why.to_string()),
        };
        // The answer may be large, and the body is not needed meanwhile.
        drop(body);
        let Ok(task) = NewTask::of(&square).map(|task| self.limited(task, later, deadline)) else {
            return http::error(StatusCode::INTERNAL_SERVER_ERROR, "the task cannot be written");
        };
        let id = task.id.clone();
        let (reply, replied) = oneshot::channel();
        let asking = async {
            // A queue that takes nothing for a while holds this up, and the deadline ends it.
            self.asked.send(Asked { task, later, reply }).await.ok()?;
            replied.await.ok()
        };
        match timeout_at(deadline, asking).await {
            Ok(Some(Reply::Queued)) => http::of_task(StatusCode::ACCEPTED, &id, "it is queued"),
            Ok(Some(Reply::Full)) => http::later(StatusCode::TOO_MANY_REQUESTS, "the queue is full"),
            Ok(Some(Reply::Away)) => http::later(StatusCode::SERVICE_UNAVAILABLE, "the broker is away"),
            Ok(Some(Reply::Refused(why))) => http::later(StatusCode::SERVICE_UNAVAILABLE, &why),
            // It was known and is not: the broker lost its data.
            Ok(Some(Reply::Ended(Outcome::Unknown))) => {
                http::later(StatusCode::SERVICE_UNAVAILABLE, "the broker has lost it")
            }
            // It was given up because the deadline is over: see below.
            Ok(Some(Reply::Ended(Outcome::Dead(_)))) if Instant::now() >= deadline => too_late(&id),
            Ok(Some(Reply::Ended(outcome))) => http::outcome(&id, outcome),
            Ok(None) => http::error(StatusCode::INTERNAL_SERVER_ERROR, "the front is broken"),
            Err(_) => too_late(&id),
        }
    }

    /// With all that keeps back ends from working for nobody.
    fn limited(&self, task: NewTask, later: bool, deadline: Instant) -> NewTask {
        let keep = Duration::from_millis(self.args.keep_ms);
        let capabilities = self.client.broker().capabilities();
        // Who asked can ask again, and sooner than a second try would come.
        let mut task = task.with_max_attempts(1);
        // RabbitMQ can neither take a task back nor keep its result: there it is worked on, and told to this process only.
        if capabilities.control == Control::Full {
            let left = deadline.saturating_duration_since(Instant::now());
            task = task.with_expires(if later { keep } else { left.max(Duration::from_millis(1)) });
        }
        task.with_result(if capabilities.results == Results::Kept {
            Wanted::Keep(keep)
        } else {
            Wanted::Reply
        })
    }

    /// Tells what became of a task that was queued before.
    async fn task(&self, id: &str, deadline: Instant) -> Answer {
        let Ok(id) = TaskId::new(id) else {
            return http::error(StatusCode::NOT_FOUND, "that is no task's id");
        };
        let ids = std::slice::from_ref(&id);
        match timeout_at(deadline, self.client.broker().outcomes(&self.queue, ids)).await {
            Ok(Ok(mut outcomes)) => http::outcome(&id, outcomes.pop().unwrap_or(Outcome::Unknown)),
            Ok(Err(error)) if error.is_retryable() => {
                http::later(StatusCode::SERVICE_UNAVAILABLE, "the broker is away")
            }
            Ok(Err(error)) => http::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
            Err(_) => http::later(StatusCode::GATEWAY_TIMEOUT, "the broker is slow"),
        }
    }
}

/// The deadline is over. A task that no back end has begun is given up; one that runs ends, and its answer is kept.
fn too_late(id: &TaskId) -> Answer {
    http::of_task(StatusCode::GATEWAY_TIMEOUT, id, "it was not done in time")
}
