//! Whether the server takes messages, and how long calls take, each measured a few times.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Connection, Event,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::{FieldTable, ShortString},
};

use super::exam::{connect, rabbitmq, within};
use crate::{Check, Result, backends::rabbitmq::link::Link, doctor::calls};

/// How many of each are measured.
const ROUNDS: usize = 20;

/// How long a call may take in the middle of all, before somebody should look.
const SLOW: Duration = Duration::from_millis(5);

/// The calls that are measured.
const CALLS: [&str; 2] = ["declare", "publish"];

type Times = [Vec<Duration>; CALLS.len()];

/// How the server takes what is published.
enum Taken {
    In(Times),
    /// It takes nothing, for this reason.
    Blocked(String),
}

/// Publishes to a queue of this connection's own, which is gone with it. An alarm is told only to who publishes.
/// Says whether it does, and how long calls took.
pub(super) async fn checks(link: &Link) -> Result<(Option<Check>, Option<Check>)> {
    let connection = connect(link).await?;
    let taken = measure(&connection, &link.names.tried(link.incarnation)).await;
    // During an alarm the server reads nothing, so it would not answer; the end of the connection's socket is enough.
    if !matches!(taken, Ok(Taken::Blocked(_))) {
        let _ = within(connection.close(200, "measured".into())).await;
    }
    Ok(match taken {
        Ok(Taken::Blocked(reason)) => (Some(alarm(&reason)), None),
        Ok(Taken::In(times)) => {
            (Some(Check::ok("alarm", "the server takes what is sent")), Some(said(times)))
        }
        Err(error) => {
            let found = format!("they could not be measured: {}", error.report());
            (None, Some(Check::warn("calls", found, error.advice().unwrap_or("see the server's log"))))
        }
    })
}

async fn measure(connection: &Connection, queue: &ShortString) -> Result<Taken> {
    let mut events = Box::pin(connection.events_listener());
    let channel = within(connection.create_channel()).await?.map_err(rabbitmq)?;
    let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    within(channel.queue_declare(queue.clone(), own, FieldTable::default())).await?.map_err(rabbitmq)?;
    within(channel.confirm_select(ConfirmSelectOptions::default())).await?.map_err(rabbitmq)?;
    let blocked = async {
        loop {
            match events.next().await {
                Some(Event::ConnectionBlocked(reason)) => return reason,
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    };
    tokio::select! {
        biased;
        reason = blocked => Ok(Taken::Blocked(reason)),
        times = rounds(&channel, queue) => times.map(Taken::In),
    }
}

async fn rounds(channel: &Channel, queue: &ShortString) -> Result<Times> {
    let mut times = Times::default();
    for _ in 0..ROUNDS {
        let mut clock = Instant::now();
        let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed();
        let look = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        within(channel.queue_declare(queue.clone(), look, FieldTable::default())).await?.map_err(rabbitmq)?;
        let declare = lap();
        let (to, options) = (queue.clone(), BasicPublishOptions::default());
        let publish = channel.basic_publish("".into(), to, options, b"tried", BasicProperties::default());
        within(async { publish.await?.await }).await?.map_err(rabbitmq)?;
        for (all, took) in times.iter_mut().zip([declare, lap()]) {
            all.push(took);
        }
    }
    Ok(times)
}

fn alarm(reason: &str) -> Check {
    let found = format!(
        "the server takes nothing: {reason}. Nobody can send; what runs is kept, and what has ended is settled when it takes messages again"
    );
    let advice = if reason.contains("disk") {
        "rabbitmq-diagnostics alarms; make room on its disk, or lower disk_free_limit"
    } else {
        "rabbitmq-diagnostics alarms; start workers, give it memory, or raise vm_memory_high_watermark"
    };
    Check::bad("alarm", found, advice)
}

fn said(times: Times) -> Check {
    let remark = format!("the middle of {ROUNDS}; to a queue that is not on the disk");
    let advice =
        "the server or the network is slow: rabbitmq-diagnostics observer, and what else the host does";
    calls(CALLS, times, &remark, SLOW, advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;

    #[test]
    fn the_middle_counts() {
        let times = |ms: [u64; 3]| std::array::from_fn(|_| ms.map(Duration::from_millis).to_vec());
        let check = said(times([90, 1, 2]));
        assert!(check.found.starts_with("declare 2.00 ms, publish 2.00 ms "), "{check:?}");
        assert_eq!(check.verdict, Verdict::Ok);
        assert_eq!(said(times([90, 6, 2])).verdict, Verdict::Warn);
    }

    #[test]
    fn the_advice_fits_the_alarm() {
        for (reason, part) in [("low on memory", "watermark"), ("low on disk", "disk_free_limit")] {
            let check = alarm(reason);
            assert!(check.verdict == Verdict::Bad && check.advice.unwrap().contains(part), "{reason}");
        }
    }
}
