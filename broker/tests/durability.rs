//! What the calls in a local directory survive, and that its processes agree on it.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

use std::{
    fs::{self, File},
    path::Path,
};

use manyhands_broker::{
    Broker, Durability, Enqueued, ErrorKind, Namespace, NewTask, Payload, QueueName, Result, TaskName,
    backends::local::{LocalBroker, LocalConfig},
};
use manyhands_test_recorder::{Disk, Event, note, read, record};

async fn open(folder: &Path, durability: Option<Durability>) -> Result<LocalBroker> {
    let config = LocalConfig::new(folder, Namespace::default());
    LocalBroker::open(durability.into_iter().fold(config, LocalConfig::with_durability)).await
}

/// How often the log was synced for one enqueue call, to a queue that there is not yet.
async fn syncs(folder: &Path, durability: Option<Durability>, queue: &str) -> usize {
    let broker = open(&folder.join("store"), durability).await.unwrap();
    let (queue, name) = (QueueName::new(queue).unwrap(), TaskName::new("work").unwrap());
    // The first commit may begin the log anew, which SQLite syncs by itself.
    broker.declare(&queue, None).await.unwrap();
    note(b"asked");
    let task = NewTask::new(queue, name, Payload::null());
    assert_eq!(broker.enqueue(&[task], None).await.unwrap(), [Enqueued::Enqueued]);
    note(b"answered");
    let (mut disk, mut syncs, mut asked) = (Disk::default(), 0, false);
    for entry in read(&folder.join("log")).unwrap() {
        match &entry.event {
            Event::Note { text } => asked = text == b"asked",
            Event::Sync { fd } if asked => {
                let log = disk.path(entry.pid, *fd).is_some_and(|path| path.ends_with("tasks.db-wal"));
                syncs += usize::from(log);
            }
            _ => {}
        }
        disk.apply(&entry).unwrap();
    }
    drop(broker);
    ended(&folder.join("store/mh/incarnations"));
    syncs
}

/// Waits until all sessions have ended, which they do on threads of their own: the last connection that is closed syncs the log, and
/// that is not to be counted for the next call. A session keeps the lock on its file until its connection is closed.
fn ended(incarnations: &Path) {
    for file in fs::read_dir(incarnations).unwrap() {
        // One that is gone was removed by who took care of its session.
        if let Ok(file) = File::open(file.unwrap().path()) {
            file.lock().unwrap();
        }
    }
}

// One test, as a process is recorded once.
#[tokio::test]
async fn a_directory_survives_what_it_was_made_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    fs::create_dir(&store).unwrap();
    record(&store, &folder.path().join("log")).unwrap();
    assert_eq!(syncs(folder.path(), Some(Durability::Process), "a").await, 0);
    assert_eq!(syncs(folder.path(), None, "b").await, 0, "whoever does not ask keeps to it");
    let refused = open(&store, Some(Durability::Power)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.to_string().contains("durability process, not power"), "{refused}");

    fs::remove_dir_all(store.join("mh")).unwrap();
    assert_eq!(syncs(folder.path(), None, "c").await, 1, "unless it is made for less");
    let refused = open(&store, Some(Durability::Process)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(open(&store, Some(Durability::Power)).await.is_ok());

    fs::write(store.join("mh/durability"), "moon\n").unwrap();
    assert_eq!(open(&store, None).await.unwrap_err().kind(), ErrorKind::Incompatible);
}
