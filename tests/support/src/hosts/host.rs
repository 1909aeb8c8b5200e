//! One host.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io,
    net::Ipv4Addr,
    os::fd::AsFd,
    path::Path,
    process::Command,
    sync::Arc,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::NamedTempFile;

use super::{Direction, Holder, Packets, Switch, address, counters, rules::Chain, run};

/// What every host knows.
const NAMES: &str = "127.0.0.1 localhost\n";

/// Where what comes by a host's loopback is counted.
const LOOPBACK: Chain = Chain(["inet", "loopback", "input"]);

/// A host with an address, until it is dropped.
#[derive(Debug)]
pub struct Host {
    name: String,
    /// Its first address.
    address: Ipv4Addr,
    holder: Holder,
    /// Its `/etc/hosts`.
    names: NamedTempFile,
    switch: Arc<Switch>,
    /// Its place on the switch.
    port: String,
}

impl Host {
    pub(super) fn new(switch: &Arc<Switch>, name: &str, number: u8) -> io::Result<Self> {
        let names = NamedTempFile::with_prefix("manyhands-test-hosts-")?;
        fs::write(names.path(), NAMES)?;
        let holder = Holder::start(Some(names.path()))?;
        let (port, switch) = (format!("port{number}"), Arc::clone(switch));
        let this = Self { name: name.to_owned(), address: address(number), holder, names, switch, port };
        this.switch.plug(&this.port, this.holder.pid())?;
        this.ip(&["link", "set", "eth0", "up"])?;
        this.take(this.address)?;
        LOOPBACK.create(&this.holder)?;
        LOOPBACK.add(&this.holder, &["iifname", "lo", "meta", "l4proto", "!=", "icmp", "counter"])?;
        Ok(this)
    }

    /// Its name, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address that it had from the beginning.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The addresses that it has on the network now, as the kernel tells.
    ///
    /// # Errors
    ///
    /// If it cannot be asked.
    pub fn addresses(&self) -> io::Result<Vec<Ipv4Addr>> {
        let told = self.ip(&["-oneline", "-4", "address", "show", "dev", "eth0"])?;
        let address = |line: &str| line.split_once(" inet ")?.1.split_once('/')?.0.parse().ok();
        told.lines()
            .map(|line| {
                address(line).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, line.to_owned()))
            })
            .collect()
    }

    /// A program to run here, with the host's network and names. It is killed when the thread that started it ends.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        self.holder.on_host(program)
    }

    /// Does something on a thread that is on this host's network, as are all threads and processes which that starts. Names are the machine's
    /// there, not the host's.
    ///
    /// # Errors
    ///
    /// If the thread cannot get there; also if it panics.
    pub fn inside<T: Send>(&self, doing: impl FnOnce() -> T + Send) -> io::Result<T> {
        let network = File::open(self.holder.network())?;
        let thread = || -> io::Result<T> {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(doing())
        };
        let panicked = |_| io::Error::other(format!("what was to be done on host {} panicked", self.name));
        std::thread::scope(|scope| scope.spawn(thread).join()).map_err(panicked)?
    }

    /// Changes what names stand for on this host, all of them.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub fn set_names(&self, names: &[(&str, Ipv4Addr)]) -> io::Result<()> {
        let mut text = NAMES.to_owned();
        for (name, address) in names {
            let _ = writeln!(text, "{address} {name}");
        }
        // In its place, as the host has this very file.
        fs::write(self.names.path(), text)
    }

    /// Takes an address, and lets everybody know: who talked to it on another host talks to this one.
    ///
    /// # Errors
    ///
    /// If it has the address already.
    pub fn take(&self, address: Ipv4Addr) -> io::Result<()> {
        self.ip(&["address", "add", &format!("{address}/24"), "dev", "eth0"])?;
        // The kernel tells all others whose addresses these are when the hardware's is set, though it be the same.
        let told = self.ip(&["-oneline", "link", "show", "dev", "eth0"])?;
        let hardware = told.split_once("link/ether ").and_then(|(_, rest)| rest.split(' ').next());
        let hardware = hardware.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, told.clone()))?;
        self.ip(&["link", "set", "eth0", "address", hardware]).map(drop)
    }

    /// Gives an address up.
    ///
    /// # Errors
    ///
    /// If it has not got it.
    pub fn give_up(&self, address: Ipv4Addr) -> io::Result<()> {
        self.ip(&["address", "delete", &format!("{address}/24"), "dev", "eth0"]).map(drop)
    }

    /// Loses packets of this host from now on, without a word to anybody.
    ///
    /// # Errors
    ///
    /// If the switch cannot be told.
    pub fn lose(&self, direction: Direction) -> io::Result<()> {
        self.switch.lose(&self.port, direction)
    }

    /// How many packets [`Host::lose`] has lost by now.
    ///
    /// # Errors
    ///
    /// If the switch cannot be asked.
    pub fn lost(&self) -> io::Result<u64> {
        self.switch.lost(&self.port)
    }

    /// Loses nothing any more, and tells how many packets were lost.
    ///
    /// # Errors
    ///
    /// If the switch cannot be told.
    pub fn heal(&self) -> io::Result<u64> {
        self.switch.heal(&self.port)
    }

    /// Pulls its cable: nothing comes or goes, and the host knows it.
    ///
    /// # Errors
    ///
    /// If the switch cannot be told.
    pub fn unplug(&self) -> io::Result<()> {
        self.switch.set_plugged(&self.port, false)
    }

    /// Plugs its cable in again.
    ///
    /// # Errors
    ///
    /// If the switch cannot be told.
    pub fn plug(&self) -> io::Result<()> {
        self.switch.set_plugged(&self.port, true)
    }

    /// How many packets came over its loopback, on which nobody else can be reached. What the kernel says to itself does not count: where it
    /// finds nobody who has an address, it tells its own sockets so (ICMP) by that way.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell.
    pub fn loopback(&self) -> io::Result<u64> {
        Ok(LOOPBACK.rules(&self.holder)?.iter().map(|rule| rule.packets).sum())
    }

    /// Lets what is said on this port of its loopback not count from now on.
    ///
    /// # Errors
    ///
    /// If the kernel cannot be told.
    pub fn discount(&self, port: u16) -> io::Result<()> {
        let port = port.to_string();
        ["sport", "dport"].iter().try_for_each(|side| {
            LOOPBACK.insert(&self.holder, &["iifname", "lo", "tcp", side, &port, "accept"])
        })
    }

    /// What went over its cable.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell.
    pub fn cable(&self) -> io::Result<Packets> {
        counters::packets(self.holder.pid(), "eth0")
    }

    fn ip(&self, args: &[&str]) -> io::Result<String> {
        run(self.holder.in_network("ip").args(args))
    }
}
