//! Several hosts, each with an address of its own: one that has the broker, one that sends, three that work. The network between them fails, and
//! what came of it is judged by the ledgers alone.
//!
//! The hosts are network namespaces, which only root can make: what is missing for that fails these tests. Each trial has hosts and a server
//! of its own. At its end the kernel's counters must show that nothing went over the loopback of any host while it ran, and no two hosts may
//! have an address in common: so all that was said went over the cables, from one address to another. Two things are not counted: what the
//! kernel says to itself (ICMP: nobody has that address), and, on the broker's host, what a node of RabbitMQ says to its epmd, for which
//! Erlang knows no other way.
//!
//! The programs on the hosts are this one, started again: where `MANYHANDS_TEST_HOSTS` is set, it tells what to be.

#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]
#![allow(clippy::print_stdout, reason = "what the programs tell the test, and the figures")]

mod cut_off;
mod half_open;
#[path = "../insistence/mod.rs"]
mod insistence;
mod latency;
mod moved;
mod producer;
mod scene;
mod server;
mod told;
mod worker;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use libtest_mimic::{Arguments, Trial};
use manyhands_cli::{Color, LogArgs, start_logging};
use serde::{Deserialize, Serialize};

use insistence::insist;
use server::Kind;

/// What makes this program one of those that a test starts on a host.
const ROLE: &str = "MANYHANDS_TEST_HOSTS";

/// What such a program is told.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Role {
    what: What,
    /// The broker's URL.
    url: String,
    /// For its ledger.
    folder: PathBuf,
    /// How long a worker's leases last.
    lease: Duration,
}

/// What it does.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum What {
    /// Sends tasks until it is told to stop.
    Produce,
    /// Runs tasks until their queue ended.
    Work,
}

/// A trial, by its name.
type Scenario = (&'static str, fn(Kind));

const SCENARIOS: [Scenario; 4] = [
    ("a_host_is_cut_off_and_comes_back", cut_off::play),
    ("links_are_half_open", half_open::play),
    ("links_are_slow", latency::play),
    ("the_broker_moves", moved::play),
];

fn main() -> ExitCode {
    if let Ok(role) = std::env::var(ROLE) {
        let role: Role = serde_json::from_str(&role).unwrap();
        start_logging(&LogArgs { quiet: false, verbose: 1, color: Color::Never });
        match role.what {
            What::Produce => producer::produce(&role),
            What::Work => worker::work(&role),
        }
        return ExitCode::SUCCESS;
    }
    let trial = |kind: Kind| {
        SCENARIOS.into_iter().map(move |(name, play)| {
            Trial::test(format!("{name}_over_{}", kind.name()), move || {
                play(kind);
                Ok(())
            })
        })
    };
    let trials = [Kind::Redis, Kind::RabbitMq].into_iter().flat_map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// In a program on a host: tells the test, in one write.
fn say(word: &str, what: impl std::fmt::Display) {
    println!("{word} {what}");
}
