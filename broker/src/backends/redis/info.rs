//! What a server tells about itself.

use std::str::FromStr;

/// The answer to INFO: lines of a name, a colon and a value.
#[derive(Clone, Debug)]
pub(super) struct Info(String);

impl Info {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// The value of a name; empty where this server does not tell it.
    pub(super) fn get(&self, name: &str) -> &str {
        let value = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_default().trim()
    }

    /// Whether it is a Sentinel: it has no tasks, but knows who has them.
    pub(super) fn is_sentinel(&self) -> bool {
        self.get("redis_mode") == "sentinel"
    }

    /// Whether it is part of a Cluster: it has some of the names, and the others have the rest.
    pub(super) fn is_of_cluster(&self) -> bool {
        self.get("redis_mode") == "cluster" || self.get("cluster_enabled") == "1"
    }

    /// Whether it copies another one, and takes no writes.
    pub(super) fn is_replica(&self) -> bool {
        self.get("role") == "slave"
    }

    /// A value that is a number.
    pub(super) fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.get(name).parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_whole_names() {
        let info = Info::new(
            "# Memory\r\nused_memory_human:1M\r\nused_memory:1048576\r\nmaxmemory:0\r\n".to_owned(),
        );
        assert_eq!((info.get("used_memory"), info.get("used")), ("1048576", ""));
        assert_eq!((info.number("maxmemory"), info.number::<u64>("used_memory_human")), (Some(0), None));
    }
}
