//! What the program does that sends.

use std::{io::BufRead, sync::Arc, time::Duration};

use manyhands::{Client, NewTask, QueueName, Task, TaskId, capabilities::Ids};
use manyhands_test_support::ledger::{Ledger, Outcome};
use tokio::sync::{Semaphore, watch};

use crate::{
    Role,
    insistence::{PAUSE, insist, outcome},
    runtime, say,
    worker::Work,
};

/// A task is sent so often, if the broker takes it.
const EVERY: Duration = Duration::from_millis(25);

/// How many calls may wait for an answer at a time.
const CALLS: usize = 16;

/// The most that are sent, should nobody stop it.
const MOST: usize = 10_000;

/// One task of so many is long, and how long it takes: longer than a lease, and so than it takes to notice that a host is gone.
const LONG_OF: usize = 25;
pub(crate) const LONG: u64 = 3000;

/// How long the others take.
const SHORT: u64 = 40;

/// Sends a task after the other until its input says to stop or ends, and closes the queue.
pub(crate) fn produce(role: &Role) {
    let (stop, stopped) = watch::channel(false);
    std::thread::spawn(move || {
        let _ = std::io::stdin().lock().read_line(&mut String::new());
        stop.send_replace(true);
    });
    runtime().block_on(send_until(role, stopped));
}

async fn send_until(role: &Role, stopped: watch::Receiver<bool>) {
    let ledger = Arc::new(Ledger::open(&role.folder, "producer").unwrap());
    let client = insist(async || Client::connect(&role.url.parse()?).await).await;
    let ids = client.broker().capabilities().ids;
    // Where a call that is made again may double its task, that is done here, where it is noted.
    let client = if ids == Ids::Unknown { client.with_patience(Duration::ZERO) } else { client };
    let calls = Arc::new(Semaphore::new(CALLS));
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 0..MOST {
        ticks.tick().await;
        let call = Arc::clone(&calls).acquire_owned().await.unwrap();
        if *stopped.borrow() {
            break;
        }
        let ms = if number % LONG_OF == 0 { LONG } else { SHORT };
        let mut task = NewTask::of(&Work { number, ms }).unwrap();
        // However often its host is lost.
        task.max_crashes = 1000;
        if ids == Ids::Remembered {
            task = task.with_id(TaskId::new(&format!("task-{number}")).unwrap());
        }
        let (client, ledger) = (client.clone(), Arc::clone(&ledger));
        tokio::spawn(async move {
            send(client, ledger, task).await;
            drop(call);
        });
    }
    let _all = calls.acquire_many(u32::try_from(CALLS).unwrap()).await.unwrap();
    insist(async || client.close(&QueueName::new(Work::QUEUE)?).await).await;
}

/// Sends a task, until the broker has it.
async fn send(client: Client, ledger: Arc<Ledger>, task: NewTask) {
    let id = task.id.to_string();
    loop {
        let sent = client.send_task(task.clone()).await;
        let outcome = outcome(&sent);
        ledger.sent(&id, outcome).unwrap();
        match (outcome, client.broker().capabilities().ids) {
            (Outcome::Confirmed, _) => return say("sent", &id),
            // Two tasks may have this id from now on, where the broker does not know ids.
            (Outcome::Unknown, Ids::Unknown) => say("twin", &id),
            (Outcome::Unknown, _) => say("failed", &id),
            (Outcome::Refused, _) => panic!("{id} is refused: {}", sent.unwrap_err().report()),
        }
        // Nothing tells when a broker answers again.
        tokio::time::sleep(PAUSE).await;
    }
}
