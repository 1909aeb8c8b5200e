//! The state machine of tasks: a deterministic function over plain data.
//!
//! No I/O, no clock, no randomness: the time is an argument. [`Machine`] is the whole of it and the reference
//! that every broker is compared with; [`Progress`] holds the decisions about one task, which a backend that
//! keeps its tasks elsewhere calls on what it read. Every arrow of `docs/state-machine.md` is named after a
//! function here.

mod batch;
mod call;
mod cancel;
mod claim;
mod configuration;
mod dead;
mod enqueue;
mod expire;
mod limit;
mod lookup;
mod outcome;
mod place;
mod progress;
mod settle;
mod state;

pub use call::repeated;
pub use configuration::Configuration;
pub use dead::failures;
pub use limit::lets_in;
pub use lookup::{Facts, purged, reason};
pub use place::{check_fits, held_place, place};
pub use progress::{Fate, Progress, park_delay};
pub use state::{Machine, Phase, Queue, Record};

#[cfg(test)]
mod tests;
