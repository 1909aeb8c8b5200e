//! A back end: a worker whose rate is set.

use std::{sync::Arc, time::Duration};

use manyhands::{App, BrokerUrl, Context, Shutdown, TaskError, Worker, connect};

use crate::{
    job::{Square, Squared},
    stop::Signals,
};

#[derive(clap::Args)]
pub(crate) struct BackArgs {
    /// How many tasks run at a time
    #[arg(long, value_name = "N", default_value_t = 20)]
    slots: usize,

    /// How long one of them takes
    #[arg(long, value_name = "MS", default_value_t = 10)]
    time_ms: u64,

    /// How long the others wait for a back end that is silent before they take its tasks. Short, as people wait
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    lease_ms: u64,
}

/// Works until it is told to end; a second signal gives back what still runs.
pub(crate) async fn back(url: &BrokerUrl, args: BackArgs) -> anyhow::Result<()> {
    let time = Duration::from_millis(args.time_ms);
    let square = move |task: Square, _ctx: Context| async move {
        // Where a real one asks a database, or another service.
        tokio::time::sleep(time).await;
        let number = task.number;
        let square = number.checked_mul(number).ok_or_else(|| TaskError::bury("the square is too large"))?;
        Ok(Squared { number, square })
    };
    let mut signals = Signals::new()?;
    let worker = Worker::builder(connect(url).await?)
        .app(App::new().handle(square))
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
