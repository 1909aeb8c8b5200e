//! The operators' commands, run as processes over each broker: what they print, what they change, and their exit codes.

#![cfg(all(feature = "cli", feature = "local", feature = "rabbitmq", feature = "redis"))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

mod dead;
mod documented;
mod output;
mod queues;
mod refused;
mod support;
mod tasks;
mod terminal;
mod why;
mod workers;
