//! The flags.

use std::str::FromStr;

use manyhands_broker::QueueName;
use manyhands_cli::{BrokerArg, LogArgs};

use crate::autoscale::Bounds;

/// Serves queues: takes tasks, runs their handlers, settles them
///
/// Its handlers are the programs that the configuration file names for tasks, [tasks.NAME] with a command or a process, and, in a worker
/// program of one's own, those that are written in Rust. SIGTERM or SIGINT stops claiming: running tasks get the grace (30s), then they
/// are stopped and given back; a second signal does that at once.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) broker: BrokerArg,

    /// Queues to serve, with weights: a:3,b. Without it, every queue that the handlers name
    #[arg(long, value_name = "QUEUES")]
    pub(super) queues: Option<String>,

    /// Serve the queues strictly in their order instead of in turns
    #[arg(long)]
    pub(super) strict: bool,

    /// How many tasks of each kind (async, blocking, processes) run at a time; of the blocking ones at most 512
    #[arg(long, value_name = "N")]
    pub(super) concurrency: Option<usize>,

    /// Run so many worker processes of this program, at most 512, each with its own --concurrency. One that falls is started again,
    /// and on SIGHUP all are replaced, one after another
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(super) processes: Option<u16>,

    /// Run as many worker processes as the load needs, at least MIN and at most MAX; --processes is how many at first  [default: MIN]
    #[arg(long, value_name = "MIN..MAX", value_parser = Bounds::from_str)]
    pub(super) autoscale: Option<Bounds>,

    /// End when all served queues are closed and nothing on them is unsettled
    #[arg(long)]
    pub(super) until_ended: bool,

    #[command(flatten)]
    pub(super) log: LogArgs,
}

/// The queues and their weights, or what is wrong with them.
pub(super) fn queues(text: &str) -> Result<Vec<(QueueName, u32)>, String> {
    let queues: Vec<_> = text.split(',').map(str::trim).map(queue).collect::<Result<_, _>>()?;
    for (number, (queue, _)) in queues.iter().enumerate() {
        if queues[..number].iter().any(|(other, _)| other == queue) {
            return Err(format!("\"{queue}\" is named twice: each queue once, with a weight, as in a:3,b"));
        }
    }
    Ok(queues)
}

fn queue(part: &str) -> Result<(QueueName, u32), String> {
    if part.is_empty() {
        return Err("it names a queue that has no name: write names and weights, as in a:3,b".to_owned());
    }
    let (name, weight) = part.split_once(':').unwrap_or((part, "1"));
    let number = weight.parse().ok().filter(|number| *number > 0);
    let no_weight = || format!("\"{weight}\" is no weight: write a whole number from 1, as in a:3,b");
    Ok((QueueName::new(name).map_err(|e| e.report())?, number.ok_or_else(no_weight)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_have_weights() {
        let given: Vec<_> = queues("a:3,b").unwrap().into_iter().map(|(q, w)| (q.to_string(), w)).collect();
        assert_eq!(given, [("a".to_owned(), 3), ("b".to_owned(), 1)]);
        for bad in ["a:x", "a:-1", "a:0", "a b", ":3", "", "a,,b", "a,", "a:3,b,a"] {
            assert!(queues(bad).is_err(), "{bad}");
        }
    }
}
