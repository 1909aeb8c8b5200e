//! The test targets of the workspace: `hosts` is what `tests/hosts/` is compiled to, with the one of that name of every package.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::workspace::Workspace;

/// The names of the test targets there are.
pub(crate) fn all(workspace: &Workspace) -> Result<BTreeSet<String>> {
    let metadata = workspace.metadata()?;
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let targets = list(&metadata, "packages").into_iter().flat_map(|package| list(&package, "targets"));
    let tests = targets.filter(|target| list(target, "kind").contains(&"test".into()));
    let names: BTreeSet<_> = tests.filter_map(|test| test["name"].as_str().map(str::to_owned)).collect();
    ensure!(!names.is_empty(), "cargo metadata names no test targets");
    Ok(names)
}

/// Which of them to run.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// These alone; none means all.
    pub(crate) only: Vec<String>,
    /// Not these.
    pub(crate) without: Vec<String>,
}

impl Selection {
    /// The arguments by which cargo is told, of these targets; none where it is to run everything.
    pub(crate) fn arguments(&self, all: &BTreeSet<String>) -> Result<String> {
        if self.only.is_empty() && self.without.is_empty() {
            return Ok(String::new());
        }
        let wanted = |name: &&String| {
            (self.only.is_empty() || self.only.contains(name)) && !self.without.contains(name)
        };
        let tests: String = all.iter().filter(wanted).map(|name| format!(" --test {name}")).collect();
        ensure!(!tests.is_empty(), "no test is left to be run");
        // What stands beside the code belongs to no target of that kind.
        let beside = if self.only.is_empty() { " --lib --bins" } else { "" };
        Ok(format!("{beside}{tests}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(only: &[&str], without: &[&str]) -> Result<String> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let all = owned(&["demo", "hosts", "ledgers"]).into_iter().collect();
        Selection { only: owned(only), without: owned(without) }.arguments(&all)
    }

    #[test]
    fn targets_are_named_where_not_all_are_wanted() {
        assert_eq!(arguments(&[], &[]).unwrap(), "");
        assert_eq!(arguments(&["hosts"], &[]).unwrap(), " --test hosts");
        assert_eq!(arguments(&[], &["hosts"]).unwrap(), " --lib --bins --test demo --test ledgers");
        assert!(arguments(&["hosts"], &["hosts"]).is_err());
    }

    #[test]
    fn the_workspace_has_tests() {
        let all = all(&Workspace::find().unwrap()).unwrap();
        assert!(["conformance", "hosts", "ledgers"].iter().all(|name| all.contains(*name)), "{all:?}");
    }
}
