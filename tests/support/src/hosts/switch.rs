//! What hosts are plugged into.

use std::io;

use super::{Holder, rules::Chain, run};

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

/// Where packets between the ports are lost.
const CUTS: Chain = Chain(["bridge", "cuts", "forward"]);

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
        CUTS.create(&this.holder)?;
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
        ways.iter().try_for_each(|[way, port]| CUTS.add(&self.holder, &[way, port, "counter", "drop"]))
    }

    /// Loses nothing of this port any more; tells how many packets it had lost.
    pub(super) fn heal(&self, port: &str) -> io::Result<u64> {
        let mut lost = 0;
        for rule in CUTS.rules(&self.holder)?.iter().filter(|rule| rule.interface == port) {
            lost += rule.packets;
            CUTS.remove(&self.holder, rule)?;
        }
        Ok(lost)
    }

    /// How many packets of this port are lost by now.
    pub(super) fn lost(&self, port: &str) -> io::Result<u64> {
        let rules = CUTS.rules(&self.holder)?;
        Ok(rules.iter().filter(|rule| rule.interface == port).map(|rule| rule.packets).sum())
    }

    fn ip(&self, args: &[&str]) -> io::Result<()> {
        run(self.holder.in_network("ip").args(args)).map(drop)
    }
}
