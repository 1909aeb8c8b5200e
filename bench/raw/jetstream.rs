//! Raw limit: the file-backed work queue of NATS JetStream, in and out at once, in two processes beside the server.
//!
//! Its sync policy is left as it is: the server syncs by a timer, so a power cut takes back what was acknowledged since.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, pull},
    stream::{Config, RetentionPolicy, StorageType},
};
use futures_util::StreamExt;
use manyhands_test_support::ledger::now;
use serde::{Deserialize, Serialize};

use super::Measured;
use crate::{
    actor::Actor,
    figures::rate,
    roles::{Orders, Produced, Role, say},
    settings::{Durability, Settings},
    work::{PAYLOAD, Work},
};

/// The stream and its subject.
const NAME: &str = "bench";

/// How long the server may take to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server of our own, on a free port; killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    url: String,
}

impl Server {
    /// Whether there is one to be started.
    pub(crate) fn is_installed() -> bool {
        let mut command = Command::new("nats-server");
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// Starts one that keeps its files in this folder, and returns when it listens.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let log = folder.join("nats.log");
        let mut command = Command::new("nats-server");
        // Port -1 is any that is free, which the server tells in its log.
        command
            .args(["--addr", "127.0.0.1", "--port", "-1", "--jetstream", "--store_dir"])
            .arg(folder.join("nats"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let child = command.spawn().context("nats-server cannot be started")?;
        let mut server = Self { child, url: String::new() };
        server.url = server.listening(&log)?;
        Ok(server)
    }

    /// Where it listens.
    fn listening(&mut self, log: &PathBuf) -> Result<String> {
        let patience = Instant::now() + PATIENCE;
        while Instant::now() < patience {
            let said = BufReader::new(File::open(log)?);
            let listens =
                |line: String| Some(line.split_once("Listening for client connections on ")?.1.to_owned());
            let address = said.lines().map_while(Result::ok).find_map(listens);
            // The line is written before the port is open for all.
            if let Some(address) = address.filter(|address| TcpStream::connect(address).is_ok()) {
                return Ok(address);
            }
            ensure!(self.child.try_wait()?.is_none(), "nats-server ended: {}", fs::read_to_string(log)?);
            std::thread::yield_now();
        }
        bail!("nats-server does not listen: {}", fs::read_to_string(log)?)
    }

    /// Puts `n` messages in and takes them out at once; ends with the last acknowledgement that the server confirmed.
    pub(crate) fn measure(&self, n: u64, batch: usize) -> Result<Measured> {
        let role = |publish| Role::JetStream(JetStreamRole { url: self.url.clone(), publish, n, batch });
        let mut consumer = Actor::ready(&role(false))?;
        let mut producer = Actor::ready(&role(true))?;
        consumer.go()?;
        producer.go()?;
        let produced: Produced = producer.end()?;
        let consumed: Produced = consumer.end()?;
        let settings = Settings {
            who: "NATS JetStream, file-backed work queue".to_owned(),
            payload: PAYLOAD,
            batch,
            durability: Durability::ServersTimer,
            journal: "the server's own".to_owned(),
            n,
        };
        Ok(Measured { settings, per_second: rate(n, consumed.ended - produced.began), took: None })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One end of the work queue.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct JetStreamRole {
    url: String,
    publish: bool,
    n: u64,
    batch: usize,
}

impl JetStreamRole {
    /// Publishes, or consumes, as it says.
    pub(crate) async fn play(self, mut orders: Orders) -> Result<()> {
        let context = jetstream::new(async_nats::connect(&self.url).await?);
        if self.publish {
            self.publish(&context, &mut orders).await
        } else {
            self.consume(&context, &mut orders).await
        }
    }

    async fn publish(&self, context: &jetstream::Context, orders: &mut Orders) -> Result<()> {
        orders.wait().await?;
        let began = now();
        let mut unconfirmed = VecDeque::with_capacity(self.batch);
        for _ in 0..self.n {
            if unconfirmed.len() == self.batch
                && let Some(oldest) = unconfirmed.pop_front()
            {
                IntoFuture::into_future(oldest).await?;
            }
            unconfirmed.push_back(context.publish(NAME, Work::json(now()).into()).await?);
        }
        for rest in unconfirmed {
            rest.await?;
        }
        say(&Produced { began, ended: now(), cpu: 0, call: 0.0 })
    }

    async fn consume(&self, context: &jetstream::Context, orders: &mut Orders) -> Result<()> {
        let _ = context.delete_stream(NAME).await;
        let config = Config {
            name: NAME.to_owned(),
            subjects: vec![NAME.to_owned()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            ..Config::default()
        };
        let stream = context.create_stream(config).await?;
        let config = pull::Config {
            durable_name: Some(NAME.to_owned()),
            ack_policy: AckPolicy::Explicit,
            max_ack_pending: 20_000,
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await?;
        let mut messages = consumer.stream().max_messages_per_batch(self.batch).messages().await?;
        orders.wait().await?;
        let began = now();
        for number in 1..=self.n {
            let message = messages.next().await.context("the stream of messages ended")??;
            let _task: Work = serde_json::from_slice(&message.payload)?;
            // Acknowledgements are not answered, but they go in order: the last one's answer is that of all.
            let acked = if number == self.n { message.double_ack().await } else { message.ack().await };
            acked.map_err(|e| anyhow::anyhow!("not acknowledged: {e}"))?;
        }
        say(&Produced { began, ended: now(), cpu: 0, call: 0.0 })
    }
}
