//! `examples/crawl`, run as processes, on sites that the tests serve.

#![cfg(all(feature = "cli", feature = "local", feature = "rabbitmq", feature = "redis"))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

mod crawler;
mod docs;
mod limits;
#[path = "../programs/mod.rs"]
mod programs;
mod refused;
mod site;
mod small;
mod walk;
