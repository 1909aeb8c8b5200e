//! Raw limits: what the machine, SQLite and another queue can do without us. One file each.

mod claims;
mod fdatasync;
mod inserts;
mod jetstream;
mod ping_pong;
mod pipe;
mod rabbitmq;
mod rabbitmq_both;
mod rabbitmq_consume;
mod rabbitmq_latency;
mod rabbitmq_publish;
mod redis;
mod redis_claims;
mod redis_enqueue;
mod redis_ping;

use std::{path::Path, time::Duration};

use anyhow::Result;
use clap::Subcommand;
use serde::{Deserialize, Serialize};

use crate::settings::Settings;

pub(crate) use self::{
    jetstream::{JetStreamRole, Server},
    ping_pong::Echo,
    pipe::NOTHING,
    rabbitmq::WINDOW,
};

/// A raw limit.
#[derive(Clone, Debug, Deserialize, Serialize, Subcommand)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Raw {
    /// Append 128 bytes to a file and sync them.
    Fdatasync {
        /// How often.
        #[arg(default_value_t = 5000)]
        n: u64,
    },
    /// Send a payload to another process through a unix socket, and get it back.
    PingPong {
        /// How often.
        #[arg(default_value_t = 20_000)]
        n: u64,
    },
    /// Send a task to a program in Python through a pipe, and get its answer back.
    Pipe {
        /// How often.
        #[arg(default_value_t = 30_000)]
        n: u64,
    },
    /// Insert rows into SQLite, synchronous=FULL.
    Inserts {
        /// How many.
        #[arg(default_value_t = 200_000)]
        n: u64,
    },
    /// Claim rows of SQLite with UPDATE … RETURNING and delete them, synchronous=NORMAL.
    Claims {
        /// How many.
        #[arg(default_value_t = 200_000)]
        n: u64,
    },
    /// Put messages into a file-backed work queue of NATS and take them out at once.
    Jetstream {
        /// How many.
        #[arg(default_value_t = 200_000)]
        n: u64,
        /// How many are published before their acknowledgements are there, and how many are pulled at once.
        #[arg(default_value_t = 100)]
        batch: usize,
    },
    /// Put bodies into Redis by a script, a hundred calls in one pipeline.
    RedisEnqueue {
        /// How many.
        #[arg(default_value_t = 200_000)]
        n: u64,
    },
    /// Claim bodies of Redis by one script and acknowledge them by another, a hundred a call, with epochs.
    RedisClaims {
        /// How many.
        #[arg(default_value_t = 200_000)]
        n: u64,
    },
    /// PING a Redis server.
    RedisPing {
        /// How often.
        #[arg(default_value_t = 20_000)]
        n: u64,
        /// For how many milliseconds nothing is done before each.
        #[arg(default_value_t = 0)]
        pause: u64,
    },
    /// Publish to a quorum queue of RabbitMQ, with 2000 that are not confirmed.
    RabbitmqPublish {
        /// How many.
        #[arg(default_value_t = 100_000)]
        n: u64,
    },
    /// Consume a quorum queue of RabbitMQ, and acknowledge a hundred at once.
    RabbitmqConsume {
        /// How many.
        #[arg(default_value_t = 100_000)]
        n: u64,
    },
    /// Do both at once.
    RabbitmqBoth {
        /// How many.
        #[arg(default_value_t = 100_000)]
        n: u64,
    },
    /// Publish one message after the other to a consumer that is idle.
    RabbitmqLatency {
        /// How many.
        #[arg(default_value_t = 1000)]
        n: u64,
    },
}

/// A raw limit, as it was measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Measured {
    /// With what.
    pub(crate) settings: Settings,
    /// Each a second.
    pub(crate) per_second: f64,
    /// How long one took, where each was timed: p50 and p99 in milliseconds.
    pub(crate) took: Option<(f64, f64)>,
}

impl Raw {
    /// Measures it in a folder.
    pub(crate) fn measure(&self, folder: &Path) -> Result<Measured> {
        match self {
            Self::Fdatasync { n } => fdatasync::measure(folder, *n),
            Self::PingPong { n } => ping_pong::measure(folder, *n),
            Self::Pipe { n } => pipe::measure(folder, *n),
            Self::Inserts { n } => inserts::measure(folder, *n),
            Self::Claims { n } => claims::measure(folder, *n),
            Self::Jetstream { n, batch } => Server::start(folder)?.measure(*n, *batch),
            Self::RedisEnqueue { n } => redis_enqueue::measure(*n),
            Self::RedisClaims { n } => redis_claims::measure(*n),
            Self::RedisPing { n, pause } => redis_ping::measure(*n, Duration::from_millis(*pause)),
            Self::RabbitmqPublish { n } => rabbitmq_publish::measure(*n),
            Self::RabbitmqConsume { n } => rabbitmq_consume::measure(*n),
            Self::RabbitmqBoth { n } => rabbitmq_both::measure(*n),
            Self::RabbitmqLatency { n } => rabbitmq_latency::measure(*n),
        }
    }
}
