//! What follows from what a server tells about itself.

use crate::{Check, backends::redis::info::Info};

/// From how much on something that fills up is worth a look, and from how much on something must be done, in percent.
const FULL: (u64, u64) = (80, 95);

/// From how many seconds on a replica is behind.
const LAG: u64 = 10;

pub(super) fn version(info: &Info) -> Check {
    let version = info.get("redis_version");
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let release = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if release < (6, 2) {
        return Check::bad("version", format!("{version}, and 6.2 is needed"), "upgrade the server");
    }
    Check::ok("version", format!("{version}; 6.2 is needed, and nothing newer is used"))
}

pub(super) fn eviction(info: &Info) -> Check {
    match info.get("maxmemory_policy") {
        "noeviction" => Check::ok("eviction", "noeviction: a full server refuses, and throws nothing away"),
        "" => {
            Check::warn("eviction", "the server does not tell its maxmemory-policy", "it must be noeviction")
        }
        policy => Check::bad(
            "eviction",
            format!("{policy}: tasks are thrown away when the memory is full"),
            "redis-cli config set maxmemory-policy noeviction, and the same in its configuration file",
        ),
    }
}

/// What is on the disk when the server dies.
pub(super) fn persistence(info: &Info, appendfsync: Option<&str>, save: Option<&str>) -> Check {
    let name = "persistence";
    let appendonly = "redis-cli config set appendonly yes, and the same in its configuration file";
    match (info.get("aof_enabled"), appendfsync, save) {
        ("1", Some("always"), _) => {
            Check::ok(name, "appendonly, appendfsync always: what was answered is on the disk")
        }
        ("1", Some("everysec"), _) => {
            let found = "appendonly, appendfsync everysec: when its host dies, the last second of what was answered may be lost";
            Check::ok(name, found)
        }
        ("1", Some(other), _) => Check::warn(
            name,
            format!(
                "appendonly, appendfsync {other}: when its host dies, as much is lost as the system had not written"
            ),
            "redis-cli config set appendfsync everysec, or always",
        ),
        ("1", None, _) => Check::warn(
            name,
            "appendonly; this user may not ask for appendfsync",
            "it should be everysec or always",
        ),
        (_, _, Some("")) => {
            Check::bad(name, "neither appendonly nor snapshots: a restart loses all tasks", appendonly)
        }
        (_, _, Some(save)) => Check::warn(
            name,
            format!("snapshots only (save {save}): a restart loses what came since the last one"),
            appendonly,
        ),
        (_, _, None) => Check::warn(
            name,
            "not appendonly; this user may not ask for snapshots (save): a restart loses tasks",
            appendonly,
        ),
    }
}

/// What failed when the server wrote to its disk last.
pub(super) fn saving(info: &Info) -> Option<Check> {
    let fields = ["aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status"];
    let failed: Vec<_> = fields.into_iter().filter(|field| info.get(field) == "err").collect();
    if failed.is_empty() {
        return None;
    }
    let found = format!("the server failed to write to its disk: {}", failed.join(", "));
    Some(Check::bad("saving", found, "make room on its disk, and see its log"))
}

pub(super) fn memory(info: &Info) -> Check {
    let used = info.number("used_memory").unwrap_or(0);
    let advice =
        "raise maxmemory, start workers, or lower the capacity of queues: a full server refuses what is sent";
    match info.number::<u64>("maxmemory").filter(|most| *most > 0) {
        Some(most) => {
            filling("memory", used, most, &format!("{} of {} are used", size(used), size(most)), advice)
        }
        None => {
            let all = info
                .number("total_system_memory")
                .map_or_else(String::new, |all| format!(", of {} that the machine has", size(all)));
            let found = format!(
                "{} are used{all}; no maxmemory: a server that fills the machine is killed, not full",
                size(used)
            );
            Check::warn(
                "memory",
                found,
                "redis-cli config set maxmemory N, about three quarters of the machine's",
            )
        }
    }
}

pub(super) fn clients(info: &Info, setting: Option<&str>) -> Check {
    let now = info.number("connected_clients").unwrap_or(0);
    let most = info.number("maxclients").or_else(|| setting?.parse().ok());
    let Some(most) = most else {
        return Check::warn(
            "clients",
            format!("{now}; this user may not ask for maxclients"),
            "each process takes one or two",
        );
    };
    let advice = "redis-cli client list says whose they are; redis-cli config set maxclients N allows more";
    filling("clients", now, most, &format!("{now} of {most} (maxclients)"), advice)
}

pub(super) fn replication(info: &Info, needed: Option<&str>) -> Check {
    let name = "replication";
    let replicas = info.number::<usize>("connected_slaves").unwrap_or(0);
    let behind = |replica: usize| {
        let line = info.get(&format!("slave{replica}"));
        let field = |name: &str| line.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        field("state") != Some("online") || field("lag").and_then(|lag| lag.parse().ok()).unwrap_or(0) > LAG
    };
    match (replicas, (0..replicas).filter(|replica| behind(*replica)).count()) {
        (0, _) => Check::ok(name, "no replicas: when this server is gone, its queues stand still"),
        (_, 0) if needed == Some("0") => {
            let found = format!(
                "{replicas} replicas, all up to date; one that is cut off from them goes on taking tasks, which are lost when a replica takes its place (min-replicas-to-write 0)"
            );
            let advice = "redis-cli config set min-replicas-to-write 1, and the same in the configuration file of each; with two replicas or more, or one that is gone stops everything";
            Check::warn(name, found, advice)
        }
        (_, 0) => {
            let found = format!(
                "{replicas} replicas, all up to date; a failover loses what was answered and not yet copied"
            );
            Check::ok(name, found)
        }
        (_, late) => {
            let found = format!(
                "{late} of {replicas} replicas are more than {LAG} s behind: a failover to one loses that much"
            );
            Check::warn(name, found, "see the replica's log, and the network between them")
        }
    }
}

fn filling(what: &'static str, now: u64, most: u64, found: &str, advice: &str) -> Check {
    match now.saturating_mul(100) / most.max(1) {
        share if share >= FULL.1 => Check::bad(what, format!("{found}: nearly all"), advice),
        share if share >= FULL.0 => Check::warn(what, found, advice),
        _ => Check::ok(what, found),
    }
}

fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes >= 10 * MIB { format!("{} MiB", bytes / MIB) } else { format!("{} KiB", bytes / 1024) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict::{self, Bad, Ok, Warn};

    fn info(lines: &[&str]) -> Info {
        Info::new(lines.join("\r\n"))
    }

    #[test]
    fn versions() {
        for (version, verdict) in [("6.0.16", Bad), ("6.2.0", Ok), ("7.0.15", Ok), ("10.1", Ok), ("", Bad)] {
            assert_eq!(version_of(version), verdict, "{version}");
        }
    }

    fn version_of(version: &str) -> Verdict {
        super::version(&info(&[&format!("redis_version:{version}")])).verdict
    }

    #[test]
    fn what_is_on_the_disk() {
        let cases = [
            ("1", Some("always"), Some(""), Ok),
            ("1", Some("everysec"), Some(""), Ok),
            ("1", Some("no"), Some(""), Warn),
            ("1", None, None, Warn),
            ("0", Some("everysec"), Some("3600 1"), Warn),
            ("0", Some("everysec"), Some(""), Bad),
            ("0", None, None, Warn),
        ];
        for (aof, appendfsync, save, verdict) in cases {
            let check = persistence(&info(&[&format!("aof_enabled:{aof}")]), appendfsync, save);
            assert_eq!(check.verdict, verdict, "{check:?}");
        }
        assert_eq!(saving(&info(&["rdb_last_bgsave_status:ok"])), None);
        assert_eq!(saving(&info(&["rdb_last_bgsave_status:err"])).unwrap().verdict, Bad);
    }

    #[test]
    fn what_fills_up() {
        for (used, verdict) in [(79, Ok), (80, Warn), (94, Warn), (95, Bad), (120, Bad)] {
            let check = memory(&info(&[&format!("used_memory:{used}"), "maxmemory:100"]));
            assert_eq!(check.verdict, verdict, "{check:?}");
            let check = clients(&info(&[&format!("connected_clients:{used}")]), Some("100"));
            assert_eq!(check.verdict, verdict, "{check:?}");
        }
        assert_eq!(memory(&info(&["used_memory:5", "maxmemory:0"])).verdict, Warn);
        assert_eq!(clients(&info(&["connected_clients:5"]), None).verdict, Warn);
    }

    #[test]
    fn replicas() {
        let with = |lines: &[&str]| replication(&info(lines), None).verdict;
        assert_eq!(with(&["cluster_enabled:0", "connected_slaves:0"]), Ok);
        assert_eq!(with(&["connected_slaves:1", "slave0:ip=a,port=1,state=online,offset=5,lag=1"]), Ok);
        assert_eq!(
            with(&["connected_slaves:1", "slave0:ip=a,port=1,state=wait_bgsave,offset=0,lag=0"]),
            Warn
        );
        assert_eq!(with(&["connected_slaves:1", "slave0:ip=a,port=1,state=online,offset=5,lag=11"]), Warn);
        let in_step = ["connected_slaves:1", "slave0:ip=a,port=1,state=online,offset=5,lag=1"];
        for (needed, verdict) in [(None, Ok), (Some("0"), Warn), (Some("1"), Ok)] {
            assert_eq!(replication(&info(&in_step), needed).verdict, verdict, "{needed:?}");
        }
    }
}
