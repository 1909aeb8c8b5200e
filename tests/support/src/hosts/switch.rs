//! What hosts are plugged into.

use std::io;

use serde_json::Value;

use super::{Holder, run};

/// Which packets of a host are lost, without a word to anybody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// Those that are for it: nobody is heard there, and all hear it.
    To,
    /// Those that it sends: it hears all, and nobody hears it.
    From,
    /// Both.
    Both,
}

/// The table in which packets are dropped, and its chain.
const CHAIN: [&str; 3] = ["bridge", "cuts", "forward"];

/// A bridge in a namespace of its own.
#[derive(Debug)]
pub(super) struct Switch {
    holder: Holder,
}

impl Switch {
    pub(super) fn new() -> io::Result<Self> {
        let this = Self { holder: Holder::start(None)? };
        this.ip(&["link", "add", "name", "switch", "type", "bridge"])?;
        this.ip(&["link", "set", "switch", "up"])?;
        this.nft(&["add", "table", CHAIN[0], CHAIN[1]])?;
        this.nft_chain("add chain", &["{", "type", "filter", "hook", "forward", "priority", "0", ";", "}"])?;
        Ok(this)
    }

    /// Leads a cable to the network of a process, where its end is `eth0`.
    pub(super) fn plug(&self, port: &str, pid: u32) -> io::Result<()> {
        let cable = ["link", "add", "name", port, "type", "veth", "peer", "name", "eth0", "netns"];
        self.ip(&[&cable[..], &[&pid.to_string()]].concat())?;
        self.ip(&["link", "set", port, "master", "switch", "up"])
    }

    /// Plugs a cable in, or pulls it: then the host knows that it is alone.
    pub(super) fn set_plugged(&self, port: &str, plugged: bool) -> io::Result<()> {
        self.ip(&["link", "set", port, if plugged { "up" } else { "down" }])
    }

    /// Loses packets from now on.
    pub(super) fn lose(&self, port: &str, direction: Direction) -> io::Result<()> {
        let (to, from) = (["oifname", port], ["iifname", port]);
        let ways: &[_] = match direction {
            Direction::To => &[to],
            Direction::From => &[from],
            Direction::Both => &[to, from],
        };
        for [way, port] in ways {
            self.nft_chain("add rule", &[way, port, "counter", "drop"])?;
        }
        Ok(())
    }

    /// Loses nothing of this port any more; tells how many packets it had lost.
    pub(super) fn heal(&self, port: &str) -> io::Result<u64> {
        let mut lost = 0;
        for rule in self.rules()?.iter().filter(|rule| rule.port == port) {
            lost += rule.lost;
            self.nft_chain("delete rule", &["handle", &rule.handle.to_string()])?;
        }
        Ok(lost)
    }

    /// How many packets of this port are lost by now.
    pub(super) fn lost(&self, port: &str) -> io::Result<u64> {
        Ok(self.rules()?.iter().filter(|rule| rule.port == port).map(|rule| rule.lost).sum())
    }

    fn rules(&self) -> io::Result<Vec<Rule>> {
        let text = self.nft(&[&["--json", "list", "chain"], &CHAIN[..]].concat())?;
        let list: Value = serde_json::from_str(&text)?;
        let entries = list["nftables"].as_array().cloned().unwrap_or_default();
        let rules: Option<Vec<_>> =
            entries.iter().filter_map(|entry| entry.get("rule")).map(Rule::read).collect();
        rules.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, text))
    }

    fn ip(&self, args: &[&str]) -> io::Result<()> {
        run(self.holder.in_network("ip").args(args)).map(drop)
    }

    fn nft(&self, args: &[&str]) -> io::Result<String> {
        run(self.holder.in_network("nft").args(args))
    }

    fn nft_chain(&self, what: &str, args: &[&str]) -> io::Result<()> {
        let what: Vec<_> = what.split(' ').collect();
        self.nft(&[&what[..], &CHAIN[..], args].concat()).map(drop)
    }
}

/// A rule that loses packets.
struct Rule {
    handle: u64,
    port: String,
    lost: u64,
}

impl Rule {
    /// Reads what the kernel tells of it.
    fn read(rule: &Value) -> Option<Self> {
        let parts = rule["expr"].as_array()?;
        let port = parts.iter().find_map(|part| part["match"]["right"].as_str())?.to_owned();
        let lost = parts.iter().find_map(|part| part["counter"]["packets"].as_u64())?;
        Some(Self { handle: rule["handle"].as_u64()?, port, lost })
    }
}
