//! What raw limits reached on another machine, measured once: a raw figure far below says that something is wrong with this
//! machine, or that something else runs on it, and then a ratio to it flatters.

use crate::settings::Settings;

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Better {
    Higher,
    Lower,
}

/// One figure that was measured once.
#[derive(Debug)]
struct Reference {
    name: &'static str,
    value: f64,
    better: Better,
}

/// The reference figures of a two-core machine: 2 virtual CPUs (Zen 4), a fast virtual disk, ext4. Rates in tasks a second,
/// times in milliseconds. Payloads were about 100 bytes there.
const TWO_CORES: [Reference; 12] = [
    Reference { name: FDATASYNC, value: 0.116, better: Better::Lower },
    Reference { name: PING_PONG, value: 0.046, better: Better::Lower },
    Reference { name: INSERTS, value: 371_733.0, better: Better::Higher },
    Reference { name: CLAIMS, value: 335_921.0, better: Better::Higher },
    Reference { name: SLOWER, value: 335_921.0, better: Better::Higher },
    Reference { name: JETSTREAM, value: 107_682.0, better: Better::Higher },
    Reference { name: REDIS_ENQUEUE, value: 203_175.0, better: Better::Higher },
    Reference { name: REDIS_CLAIMS, value: 128_000.0, better: Better::Higher },
    Reference { name: REDIS_PING, value: 0.066, better: Better::Lower },
    Reference { name: RABBITMQ_PUBLISH, value: 68_350.0, better: Better::Higher },
    Reference { name: RABBITMQ_CONSUME, value: 148_323.0, better: Better::Higher },
    Reference { name: RABBITMQ_BOTH, value: 37_416.0, better: Better::Higher },
];

/// Appending 128 bytes and syncing them, p50.
pub(crate) const FDATASYNC: &str = "append 128 bytes + fdatasync, p50";
/// A message to another process and back, p50.
pub(crate) const PING_PONG: &str = "unix socket ping-pong, p50";
/// Inserting rows.
pub(crate) const INSERTS: &str = "raw rusqlite inserts";
/// Claiming and deleting rows.
pub(crate) const CLAIMS: &str = "raw rusqlite claim + delete";
/// The slower of the last two.
pub(crate) const SLOWER: &str = "the slower of raw inserts and raw claims";
/// A file-backed work queue, in and out at once. Measured with a window of 2000 and a pull batch of 500.
pub(crate) const JETSTREAM: &str = "NATS JetStream, in and out at once";

/// Putting bodies into Redis by a script, pipelined.
pub(crate) const REDIS_ENQUEUE: &str = "raw Lua enqueue, pipelined";
/// Claiming and acknowledging bodies of Redis by scripts, with epochs.
pub(crate) const REDIS_CLAIMS: &str = "raw Lua claim + acknowledge";
/// One round trip to Redis.
pub(crate) const REDIS_PING: &str = "PING, p50";
/// The same, when the server has slept as long as ours has.
pub(crate) const REDIS_IDLE_PING: &str = "PING, 3 ms of idleness before each, p50";
/// Publishing to a quorum queue, with 2000 that are not confirmed.
pub(crate) const RABBITMQ_PUBLISH: &str = "raw lapin, publish + confirm";
/// Consuming a quorum queue, acknowledging each hundred at once.
pub(crate) const RABBITMQ_CONSUME: &str = "raw lapin, consume + acknowledge";
/// Both at once. Measured with each message acknowledged by itself.
pub(crate) const RABBITMQ_BOTH: &str = "raw lapin, in and out at once";
/// From a publish to the consumer, when all are idle.
pub(crate) const RABBITMQ_LATENCY: &str = "raw lapin, publish -> consumer, p50";

/// What has to be said of a raw figure that is below 0.7 of what such a machine reached.
pub(crate) fn remark(name: &str, value: f64, settings: &Settings) -> Option<String> {
    let reference = TWO_CORES.iter().find(|reference| reference.name == name)?;
    let part = match reference.better {
        Better::Higher => value / reference.value,
        Better::Lower => reference.value / value,
    };
    (part < 0.7).then(|| {
        format!(
            "{name}: the raw figure is only {part:.2} of what such a machine reached ({value:.3} here, {} there; here with \
             payload {} bytes, batch {}): ratios to it flatter",
            reference.value, settings.payload, settings.batch
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Durability;

    #[test]
    fn a_raw_figure_that_is_too_low_is_remarked_upon() {
        let settings = Settings {
            who: "raw".into(),
            payload: 150,
            batch: 100,
            durability: Durability::Full,
            journal: "wal".into(),
            n: 1,
        };
        assert_eq!(remark(INSERTS, 300_000.0, &settings), None);
        let told = remark(INSERTS, 185_866.0, &settings).unwrap();
        assert!(told.contains("only 0.50 of what such a machine reached"), "{told}");
        assert_eq!(remark(FDATASYNC, 0.12, &settings), None);
        assert!(remark(FDATASYNC, 0.232, &settings).unwrap().contains("only 0.50"));
        assert_eq!(remark("nobody knows", 1.0, &settings), None);
    }
}
