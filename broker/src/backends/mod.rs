//! The brokers. Each folder has the same files: `mod.rs` (what it is), `config.rs` (what it is told),
//! `session.rs` (its life), `broker.rs` (the contract), and what it needs besides.

#[cfg(feature = "local")]
pub mod local;
pub mod memory;
#[cfg(any(feature = "rabbitmq", feature = "redis"))]
mod outcomes;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(any(feature = "rabbitmq", feature = "redis"))]
mod thread;
#[cfg(all(feature = "tls", any(feature = "rabbitmq", feature = "redis")))]
mod tls;
