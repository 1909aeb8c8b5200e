//! What only the Redis broker does: sessions that are cut, servers that refuse for a while, scripts and namespaces that are removed, a server without memory, one that
//! evicts, large tasks, those that cannot be read, other formats, what a call costs and what it leaves behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what a helper cannot do fails the test")]

mod ahead;
mod bodies;
mod busy;
mod cluster;
mod contents;
mod faults;
mod formats;
mod healing;
mod load;
mod outcomes;
mod sentinel;
mod urls;

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;

use manyhands_broker::{
    BatchName, Beat, Beaten, Broker, BrokerExt, Cancel, Claim, End, Enqueued, ErrorKind, Interest, LimitKey,
    NewTask, Order, Outcome, Payload, QueueName, QueueOptions, Revived, Settled, Settlement, Start, State,
    TaskId, TaskName, Token, Unique, Verdict, Wanted, connect,
};
use manyhands_test_support::servers::Redis;

struct Server(Redis);

impl Server {
    fn start() -> Self {
        Self(Redis::options().clock().start().unwrap())
    }

    async fn session(&self) -> Arc<dyn Broker> {
        connect(&self.0.url().parse().unwrap()).await.unwrap()
    }

    /// Another client, which waits for a machine that has much to do.
    async fn operator(&self) -> redis::aio::MultiplexedConnection {
        let patience = Some(Duration::from_secs(20));
        let config = redis::AsyncConnectionConfig::new();
        let config = config.set_response_timeout(patience).set_connection_timeout(patience);
        let client = redis::Client::open(self.0.url()).unwrap();
        client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
    }

    /// Says something to the server as another client.
    async fn say(&self, words: &[&str]) -> redis::Value {
        let mut connection = self.operator().await;
        let (name, arguments) = words.split_first().unwrap();
        redis::cmd(name).arg(arguments).query_async(&mut connection).await.unwrap()
    }

    /// Says something with bytes at its end.
    async fn write(&self, command: &str, key: &str, field: &str, bytes: &[u8]) {
        let mut connection = self.operator().await;
        redis::cmd(command).arg(key).arg(field).arg(bytes).exec_async(&mut connection).await.unwrap();
    }

    /// Why the task of this id is where it is.
    async fn state(&self, id: &str) -> String {
        let script = "return cmsgpack.unpack(string.sub(redis.call('HGET', KEYS[1], ARGV[1]), 2)).error";
        let told = self.say(&["EVAL", script, "1", "mh:{mh}:state:q", &format!("t{id}")]).await;
        redis::FromRedisValue::from_redis_value(told).unwrap()
    }

    /// Cuts all connections, those of sessions too.
    async fn cut(&self) {
        self.say(&["CLIENT", "KILL", "TYPE", "normal"]).await;
        self.say(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    }
}

fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

fn task(bytes: usize) -> NewTask {
    let payload = Payload::from_json(&format!("\"{}\"", "x".repeat(bytes - 2))).unwrap();
    NewTask::new(queue(), TaskName::new("work").unwrap(), payload)
}

async fn enqueue(broker: &dyn Broker, tasks: &[NewTask]) {
    assert_eq!(broker.enqueue(tasks, None).await.unwrap(), vec![Enqueued::Enqueued; tasks.len()]);
}
