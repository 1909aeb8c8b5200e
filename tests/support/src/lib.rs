//! What the tests share: servers of their own, hosts and networks that fail on command, kills, and ledgers of what happened.
//!
//! Nothing here knows a crate of manyhands, so that it can judge all of them from outside.

mod authority;
pub mod checker;
mod example;
pub mod hosts;
pub mod kill;
pub mod ledger;
pub mod relay;
pub mod servers;

pub use authority::Authority;
pub use example::example;
