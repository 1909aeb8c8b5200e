//! What the raw limits of Redis share: a server of their own, as ours has, and one connection.

use anyhow::Result;
use manyhands_test_support::servers::Redis;
use redis::{Connection, Script};

use crate::settings::{Durability, Settings};

/// A server that keeps nothing on the disk, and a connection to it.
pub(super) struct Raw {
    pub(super) connection: Connection,
    _server: Redis,
}

impl Raw {
    pub(super) fn start() -> Result<Self> {
        let server = Redis::start()?;
        let connection = redis::Client::open(server.url())?.get_connection()?;
        Ok(Self { connection, _server: server })
    }

    /// Puts bodies into a hash and their ids on a list, one script call each, `batch` calls in one pipeline.
    pub(super) fn enqueue(&mut self, bodies: impl Iterator<Item = String>, batch: usize) -> Result<()> {
        let script = Script::new(ENQUEUE);
        script.prepare_invoke().load(&mut self.connection)?;
        let mut bodies = bodies.enumerate().peekable();
        while bodies.peek().is_some() {
            let mut pipe = redis::pipe();
            for (id, body) in bodies.by_ref().take(batch) {
                let call = pipe.cmd("EVALSHA").arg(script.get_hash()).arg(2).arg("q").arg("h");
                call.arg(id).arg(body).ignore();
            }
            pipe.query::<()>(&mut self.connection)?;
        }
        Ok(())
    }
}

const ENQUEUE: &str =
    "redis.call('HSET', KEYS[2], ARGV[1], ARGV[2]) redis.call('LPUSH', KEYS[1], ARGV[1]) return 1";

/// The settings of a raw limit of Redis.
pub(super) fn settings(who: &str, batch: usize, n: u64) -> Settings {
    Settings {
        who: format!("{who}, one connection"),
        payload: crate::work::PAYLOAD,
        batch,
        durability: Durability::ServersMemory,
        journal: "none".to_owned(),
        n,
    }
}
