//! What only the local store does: locks that tell of dead processes, files that survive a SIGKILL, reboots,
//! files that are not ours, files of older formats, a full disk, and directories.
//!
//! Some tests need other processes. Such a test starts this program again, with itself as the only test to run and
//! with `MANYHANDS_TEST_CHILD` set. By that it sees that it is the child, and does the child's part instead: a
//! function `child_…`. A child says what it does in lines on its standard output and works until it is killed. When
//! its standard input ends, nobody is left to do that: it fails, so none outlives its test, and no test that was
//! made a child by mistake passes.
//!
//! The tests of full disks mount a small tmpfs and therefore need root. `MANYHANDS_TEST_LONG` set: ten times as
//! many kills.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test's helper may fail the test")]

mod batches;
mod bounds;
mod directories;
mod disks;
mod foreign_files;
mod kills;
mod lines;
mod looking;
mod many;
mod reboots;
mod support;
mod upgrades;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use manyhands_broker::{
    Broker, BrokerUrl, Claim, ClaimedTask, End, Enqueued, Error, ErrorKind, Guard, Namespace, NewTask,
    Payload, QueueName, QueueStatus, Settled, Settlement, TaskId, TaskName,
    backends::local::{LocalBroker, LocalConfig},
    clock::{Clock, ManualClock, Now},
    connect,
};
use rusqlite::Connection;

/// How long an event of another process is waited for. Only a broken broker takes that long.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often to look at what no event tells of.
const LOOK: Duration = Duration::from_millis(2);

use support::*;
