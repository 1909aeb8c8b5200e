//! The worker runtime, on the memory broker behind its guard: on the one that is well, and most of it also on the one that does
//! what it may (`support::World`).
//!
//! Nothing here waits for time to pass where an event can be awaited: an observer tells what the worker does,
//! gates hold handlers, and `Flaky` is a broker that fails on command. What is not to happen is asserted after
//! an event by which it would have happened. Every wait is bounded by `support::PATIENCE`, which only a broken
//! worker takes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test's helper may fail the test, and say with which seed"
)]

mod endings;
mod hostility;
mod leases;
mod limits;
mod outages;
mod presence;
mod results;
mod runs;
mod slots;
mod solitude;
mod support;
mod turns;
mod watchdog;
