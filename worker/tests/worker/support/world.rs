//! Which brokers a test runs on.

use std::sync::Arc;

use manyhands_broker::{Guard, backends::memory::MemoryBroker, clock::ManualClock};

use super::Bench;

/// How many adversaries a test meets, one after the other.
const SEEDS: u64 = 3;

/// How the broker of a test is to its worker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum World {
    /// It is well: the memory broker as it is.
    Well,
    /// It refuses calls, delays them, gives less than it is asked for, loses and invents hints: by this seed. What becomes of
    /// tasks does not change by that.
    Adversarial(u64),
}

impl World {
    pub(crate) fn bench(self) -> Bench {
        self.bench_of(MemoryBroker::new())
    }

    pub(crate) fn bench_with_clock(self, clock: &ManualClock) -> Bench {
        self.bench_of(MemoryBroker::with_clock(Arc::new(clock.clone())))
    }

    fn bench_of(self, memory: MemoryBroker) -> Bench {
        let broker = Arc::new(Guard::new(memory.session()));
        Bench { memory, world: self, broker }
    }

    /// Runs a test on adversaries.
    pub(crate) async fn adversaries(test: impl AsyncFn(Self)) {
        for seed in 1..=SEEDS {
            let _named = Named(seed);
            test(Self::Adversarial(seed)).await;
        }
    }
}

/// Says which seed it was when a test fails.
pub(crate) struct Named(pub(crate) u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("that was the adversary of seed {}", self.0);
        }
    }
}

/// Makes two tests of each function: on the broker that is well, and on adversaries.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod well {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::support::World::Well).await;
            })+
        }

        mod adversarial {
            $(#[tokio::test]
            async fn $test() {
                $crate::support::World::adversaries(super::$test).await;
            })+
        }
    };
}

pub(crate) use on_both;
