//! Several hosts on one machine, each with an address of its own, and the network between them, which fails on command.
//!
//! A [`Lan`] is a switch, and each [`Host`] is a network namespace with one cable to it: `eth0`, by which alone it reaches the others. All of
//! them have the same addresses in every test, as no namespace knows of another test's. Programs run on a host by [`Host::command`], and a
//! thread of the test does something there by [`Host::inside`].
//!
//! Nothing of it has a name on the machine (`ip netns` lists none): a namespace lasts as long as a process that is in it, and that one ends
//! with the test, however that ends. Cables end with their namespace.

mod counters;
mod holder;
mod host;
mod rules;
mod switch;

use std::{io, net::Ipv4Addr, process::Command, sync::Arc};

pub use self::{counters::Packets, host::Host, switch::Direction};
use self::{holder::Holder, switch::Switch};

/// A network, to which hosts are added.
#[derive(Debug)]
pub struct Lan {
    switch: Arc<Switch>,
    hosts: u8,
}

impl Lan {
    /// Makes a network without hosts.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::PermissionDenied`] where this process may make no namespaces, which needs root; [`io::ErrorKind::NotFound`] if `ip`,
    /// `nft`, `nsenter` or `unshare` is not installed; others if one of them fails.
    pub fn new() -> io::Result<Self> {
        Ok(Self { switch: Arc::new(Switch::new()?), hosts: 0 })
    }

    /// Adds a host, with the next address.
    ///
    /// # Errors
    ///
    /// As [`Lan::new`].
    pub fn host(&mut self, name: &str) -> io::Result<Host> {
        let number = self.hosts.checked_add(1).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let host = Host::new(&self.switch, name, number)?;
        self.hosts = number;
        Ok(host)
    }
}

/// The address of the host with this number.
fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 83, 0, number)
}

/// Runs a command to its end, and tells what it printed.
fn run(command: &mut Command) -> io::Result<String> {
    let output = command.output().map_err(|error| explain(command, &error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {}", said.trim_end())))
}

/// Says what could not be started.
fn explain(command: &Command, error: &io::Error) -> io::Error {
    let program = command.get_program().to_string_lossy();
    io::Error::new(error.kind(), format!("cannot start {program}: {error}; `cargo xtask test` installs it"))
}
