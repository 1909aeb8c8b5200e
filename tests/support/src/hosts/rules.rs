//! What the kernel does with packets: counts them, or loses them.

use std::io;

use serde_json::Value;

use super::{Holder, run};

/// A chain of rules in a namespace: the family of packets, the table, and the hook at which they are looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain(pub(super) [&'static str; 3]);

/// A rule that counts.
#[derive(Debug)]
pub(super) struct Rule {
    handle: u64,
    /// The interface that it is about.
    pub(super) interface: String,
    /// How many packets it met.
    pub(super) packets: u64,
}

impl Chain {
    /// Makes it, without rules.
    pub(super) fn create(self, at: &Holder) -> io::Result<()> {
        let [family, table, hook] = self.0;
        nft(at, &["add", "table", family, table])?;
        let kind = ["{", "type", "filter", "hook", hook, "priority", "0", ";", "}"];
        self.edit(at, ["add", "chain"], &kind)
    }

    /// Adds a rule.
    pub(super) fn add(self, at: &Holder, rule: &[&str]) -> io::Result<()> {
        self.edit(at, ["add", "rule"], rule)
    }

    /// Adds a rule before all others.
    pub(super) fn insert(self, at: &Holder, rule: &[&str]) -> io::Result<()> {
        self.edit(at, ["insert", "rule"], rule)
    }

    pub(super) fn remove(self, at: &Holder, rule: &Rule) -> io::Result<()> {
        self.edit(at, ["delete", "rule"], &["handle", &rule.handle.to_string()])
    }

    /// Its rules that count, with what they counted.
    pub(super) fn rules(self, at: &Holder) -> io::Result<Vec<Rule>> {
        let text = nft(at, &[&["--json", "list", "chain"], &self.0[..]].concat())?;
        let list: Value = serde_json::from_str(&text)?;
        let entries = list["nftables"].as_array().cloned().unwrap_or_default();
        let counting = |rule: &&Value| rule["expr"].to_string().contains("\"counter\"");
        let rules = entries.iter().filter_map(|entry| entry.get("rule")).filter(counting);
        let rules: Option<Vec<_>> = rules.map(Rule::read).collect();
        rules.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, text))
    }

    fn edit(self, at: &Holder, what: [&str; 2], words: &[&str]) -> io::Result<()> {
        nft(at, &[&what[..], &self.0[..], words].concat()).map(drop)
    }
}

impl Rule {
    /// Reads what the kernel tells of it.
    fn read(rule: &Value) -> Option<Self> {
        let parts = rule["expr"].as_array()?;
        let interface = parts.iter().find_map(|part| part["match"]["right"].as_str())?.to_owned();
        let packets = parts.iter().find_map(|part| part["counter"]["packets"].as_u64())?;
        Some(Self { handle: rule["handle"].as_u64()?, interface, packets })
    }
}

fn nft(at: &Holder, args: &[&str]) -> io::Result<String> {
    run(at.in_network("nft").args(args))
}
