//! A worker: takes tasks, runs their commands, and brings what they write to the front that waits for it.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Result;
use manyhands::{App, BrokerUrl, Context, Shutdown, TaskError, Worker, connect};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    time::timeout,
};

use crate::{
    answer::Host,
    command::Running,
    list::List,
    run::{ENDED, Ended, Hello, Order, Run},
    stop::Signals,
    wire,
};

#[derive(clap::Args)]
pub(crate) struct WorkerArgs {
    /// How many commands run at a time
    #[arg(long, value_name = "N", default_value_t = 8)]
    slots: usize,

    /// How long the others wait for a worker that is silent before they take its tasks
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    lease_ms: u64,
}

/// How long the front may take to be reached, and to give an order.
const FRONT: Duration = Duration::from_secs(5);

/// What all tasks of this worker use.
struct Place {
    list: List,
    host: Host,
    own: PathBuf,
}

/// Works until it is told to end; a second signal gives back what still runs.
pub(crate) async fn worker(url: &BrokerUrl, list: List, args: WorkerArgs) -> Result<()> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host = Host { host: name, pid: std::process::id() };
    let place = Arc::new(Place { list, host, own: std::env::current_exe()? });
    let run = move |task: Run, ctx: Context| {
        let place = Arc::clone(&place);
        async move { place.run(task, ctx).await }
    };
    let mut signals = Signals::new()?;
    let worker = Worker::builder(connect(url).await?)
        .app(App::new().handle(run))
        .concurrency(args.slots)
        .lease(Duration::from_millis(args.lease_ms))
        .build()?;
    println!("working: {}", worker.describe());
    let shutdown = Arc::new(Shutdown::new());
    let orders = Arc::clone(&shutdown);
    tokio::spawn(async move {
        signals.next().await;
        orders.stop();
        signals.next().await;
        orders.abort();
    });
    worker.run(&shutdown).await?;
    Ok(())
}

impl Place {
    /// Runs one command, for as long as its front waits for it. An error is a front that is lost: the next try asks it again.
    async fn run(&self, task: Run, ctx: Context) -> Result<(), TaskError> {
        let (mut orders, mut answers) = timeout(FRONT, self.greet(&task, &ctx)).await??;
        let limit = match timeout(FRONT, order(&mut orders)).await?? {
            Order::Go { limit_ms } => Duration::from_millis(limit_ms),
            Order::Over => return Ok(()),
        };
        let work = async {
            let ended = self.work(&task, &mut answers).await?;
            let json = serde_json::to_vec(&ended)?;
            answers.write_all(&wire::frame(&[&[ENDED], &json])?).await
        };
        tokio::select! {
            // It says when it has all, or when nobody waits any more; or it goes, and then nobody does, or it cannot be known.
            // What runs is dropped in each case, and so is killed.
            order = order(&mut orders) => return order.map(drop).map_err(TaskError::from),
            worked = timeout(limit, work) => match worked {
                Ok(worked) => worked?,
                // The front has noticed, too, and has answered.
                Err(_) => return Ok(()),
            },
        }
        timeout(FRONT, order(&mut orders)).await??;
        Ok(())
    }

    /// Goes to the front, and says for which call.
    async fn greet(&self, task: &Run, ctx: &Context) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
        let mut stream = TcpStream::connect(task.front).await?;
        stream.set_nodelay(true)?;
        let hello = Hello { call: task.call, fence: ctx.fence(), worker: self.host.clone() };
        wire::say(&mut stream, &hello).await?;
        Ok(stream.into_split())
    }

    /// Runs the command, and sends what it writes while it does.
    async fn work(&self, task: &Run, answers: &mut OwnedWriteHalf) -> io::Result<Ended> {
        let ready = match self.list.check(&task.request) {
            Ok(ready) => ready,
            // The front has another list; or somebody else put the task on the queue.
            Err(why) => return Ok(Ended::Refused(why)),
        };
        match Running::start(&self.own, &ready) {
            Ok(running) => {
                let input = task.request.input.as_deref().unwrap_or_default();
                running.finish(input.as_bytes(), answers).await
            }
            Err(error) => Ok(Ended::Failed(format!("the command cannot be started: {error}"))),
        }
    }
}

async fn order(orders: &mut OwnedReadHalf) -> io::Result<Order> {
    let broken = |error: wire::Broken| io::Error::other(error);
    let frame = wire::read(orders, wire::SHORT).await.map_err(broken)?;
    let frame = frame.ok_or_else(|| io::Error::other("the front closed the connection"))?;
    Ok(serde_json::from_slice(&frame)?)
}
