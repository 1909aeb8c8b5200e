//! The demo over a server, with a network in between that fails in the middle of the work: 250 films each time.

#![cfg(feature = "demo")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

mod demo_process;

use std::time::Duration;

use demo_process::Running;
use manyhands_test_support::{
    relay::{Fault, Relay, Stats},
    servers::{RabbitMq, Redis},
};

/// How long somebody may take to notice that the network failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the demo over a network that fails when fetching has begun. It heals when `noticed` says so; `None` never.
fn fails(server: &str, fault: Fault, noticed: Option<fn(&Stats, &Stats) -> bool>) {
    let port = server.rsplit_once(':').unwrap().1.parse().unwrap();
    let relay = Relay::start(port).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Running::start(&folder, &["--broker", &relay.url(server)]);
    demo.until("fetched 1/10");
    let before = relay.stats();
    relay.set(fault).unwrap();
    if let Some(noticed) = noticed {
        relay.wait(PATIENCE, |now| noticed(&before, now)).unwrap();
        relay.heal().unwrap();
    }
    demo.ends_well(&folder);
}

/// Somebody gave a connection up and made a new one.
fn another(before: &Stats, now: &Stats) -> bool {
    now.accepted > before.accepted
}

/// Nobody has a connection any more.
fn none(_: &Stats, now: &Stats) -> bool {
    now.open == 0
}

/// Something that was done was never heard of, and somebody tried again.
fn unheard(before: &Stats, now: &Stats) -> bool {
    now.discarded > before.discarded && another(before, now)
}

macro_rules! faults {
    ($($server:ident: $url:expr;)+) => {
        $(mod $server {
            use super::*;

            #[test]
            fn slow() {
                let server = $url;
                fails(&server.url(), Fault::Latency(Duration::from_millis(20)), None);
            }

            #[test]
            fn byte_by_byte() {
                let server = $url;
                fails(&server.url(), Fault::ByteByByte(Duration::ZERO), None);
            }

            #[test]
            fn cut() {
                let server = $url;
                fails(&server.url(), Fault::Cut, Some(none));
            }

            #[test]
            fn half_open() {
                let server = $url;
                fails(&server.url(), Fault::HalfOpen, Some(another));
            }

            #[test]
            fn black_hole() {
                let server = $url;
                fails(&server.url(), Fault::BlackHole, Some(another));
            }

            #[test]
            fn replies_dropped() {
                let server = $url;
                fails(&server.url(), Fault::RepliesDropped(Some(Duration::from_millis(100))), Some(unheard));
            }
        })+
    };
}

/// A server that all tests of this run share.
struct Shared(String);

impl Shared {
    fn url(&self) -> String {
        self.0.clone()
    }
}

faults! {
    redis: Redis::start().unwrap();
    rabbitmq: Shared(RabbitMq::shared_url().unwrap());
}
