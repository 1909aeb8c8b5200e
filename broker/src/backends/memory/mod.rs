//! `memory:` — the state machine behind a mutex. For one process, and gone with it.
//!
//! It is the reference that other brokers are compared with. [`adversary`] is the same for tests, at its worst.

pub mod adversary;
mod broker;
mod doctor;
mod fsck;
mod session;
mod workers;

pub use session::MemoryBroker;
