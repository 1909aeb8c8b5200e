//! The flags.

use clap::{ArgAction, Args, Parser};
use manyhands_broker::{Error, QueueName, Result};

/// Serves queues: takes tasks, runs their handlers, settles them.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(super) struct WorkerArgs {
    #[command(flatten)]
    pub(super) broker: BrokerArg,

    /// Queues to serve, with weights: a:3,b. Without it, every queue that the handlers name
    #[arg(long, value_name = "QUEUES")]
    queues: Option<String>,

    /// Serve the queues strictly in their order instead of in turns
    #[arg(long)]
    pub(super) strict: bool,

    /// How many tasks of each kind (async, blocking) run at a time; of the blocking ones at most 512
    #[arg(long, value_name = "N")]
    pub(super) concurrency: Option<usize>,

    /// End when all served queues are closed and nothing on them is unsettled
    #[arg(long)]
    pub(super) until_ended: bool,

    #[command(flatten)]
    pub(super) log: LogArgs,
}

/// Which broker.
#[derive(Clone, Debug, Args)]
pub struct BrokerArg {
    /// The broker: local:, local:/path, redis://host:port or amqp://host:port  [default: local:, in the user's data folder]
    #[arg(long, value_name = "URL", env = "MANYHANDS_BROKER", hide_env_values = true)]
    broker: Option<String>,
}

impl BrokerArg {
    /// The URL as it was given, if one was.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.broker.as_deref()
    }
}

/// How much is said on standard error.
#[derive(Clone, Debug, Default, Args)]
pub struct LogArgs {
    /// Say less: errors only
    #[arg(long, short, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more; twice for details
    #[arg(long, short, action = ArgAction::Count)]
    pub verbose: u8,
}

impl WorkerArgs {
    /// The queues and their weights; none to serve those that the handlers name.
    pub(super) fn queues(&self) -> Result<Vec<(QueueName, u32)>> {
        self.queues
            .as_deref()
            .unwrap_or_default()
            .split(',')
            .filter(|part| !part.is_empty())
            .map(queue)
            .collect()
    }
}

fn queue(part: &str) -> Result<(QueueName, u32)> {
    let (name, weight) = part.split_once(':').unwrap_or((part, "1"));
    match weight.parse() {
        Ok(weight) => Ok((QueueName::new(name)?, weight)),
        Err(_) => {
            let message = format!("--queues {part}: \"{weight}\" is no weight");
            Err(Error::invalid("queues", message).advise("a whole number from 1, as in --queues a:3,b"))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        WorkerArgs::command().debug_assert();
    }

    #[test]
    fn queues_have_weights() {
        let args = WorkerArgs::try_parse_from(["w", "--queues", "a:3,b"]).unwrap();
        let queues: Vec<_> = args.queues().unwrap().into_iter().map(|(q, w)| (q.to_string(), w)).collect();
        assert_eq!(queues, [("a".to_owned(), 3), ("b".to_owned(), 1)]);
        for bad in ["a:x", "a:-1", "a b", ":3"] {
            assert!(WorkerArgs::try_parse_from(["w", "--queues", bad]).unwrap().queues().is_err(), "{bad}");
        }
    }
}
