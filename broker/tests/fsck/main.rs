//! Stores that somebody damaged behind the broker's back: `fsck` names exactly that, mends it, and everything can still be
//! claimed and settled. A store that nobody damaged is clean, whatever is in it, and while others work on it.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test's helper may fail the test")]

mod local;
mod local_damage;
mod local_lines;
mod local_packs;
mod orders;
mod redis_;
mod redis_keys;
mod support;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use manyhands_broker::{
    Broker, Claim, ClaimedTask, End, Enqueued, NewTask, Payload, QueueName, Report, Settled, Settlement,
    TaskId, TaskName, backends::memory::MemoryBroker,
};

use support::*;

#[tokio::test]
async fn memory_is_clean() {
    let broker = MemoryBroker::new();
    let report = broker.fsck().unwrap().fsck(true).await.unwrap();
    assert!(report.is_clean());
    broker.enqueue(&[task("1"), task("2")], None).await.unwrap();
    broker.claim(&Claim::new(queue(), 1)).await.unwrap();
    let report = broker.fsck().unwrap().fsck(false).await.unwrap();
    assert_eq!((report.queues, report.tasks, report.findings.len()), (1, 2, 0));
}
