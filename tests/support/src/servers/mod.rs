//! Real servers for tests: each on a free port of the loopback, in a folder of its own, gone with its test.
//!
//! A server ends when its value is dropped. When that never happens (a static, a test that was killed), a small
//! process beside it notices, ends the server and removes the folder.

mod cluster;
mod detached;
mod guard;
pub(crate) mod ports;
mod process;
mod rabbitmq;
mod rabbitmq_cluster;
mod rabbitmq_ports;
mod redis;
mod sentinel;

use std::{io, path::PathBuf};

pub use self::{
    cluster::Cluster,
    detached::Detached,
    rabbitmq::{RabbitMq, RabbitMqOptions},
    rabbitmq_cluster::RabbitMqCluster,
    redis::{Redis, RedisOptions},
    sentinel::{Sentinel, Watched},
};

/// How often other ports are tried: between asking for a free one and taking it, somebody else may.
const TRIES: usize = 5;

/// Finds a program on the PATH.
fn program(name: &str, package: &str) -> io::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join(name));
    found.find(|path| path.is_file()).ok_or_else(|| missing(package))
}

/// The error for what is not installed.
fn missing(package: &str) -> io::Error {
    let text = format!("{package} is missing: `cargo xtask test` installs it");
    io::Error::new(io::ErrorKind::NotFound, text)
}
