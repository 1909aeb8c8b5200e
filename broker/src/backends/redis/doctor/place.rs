//! Whether others would take the server's place: what Sentinels and the servers of a cluster say.

use std::collections::BTreeMap;

use crate::{
    Check,
    backends::redis::{RedisBroker, cluster::Slot, info::Info, link::ANSWER, place::Way, sentinel::Guide},
};

/// As many Sentinels as are needed so that one of them may be gone.
const SENTINELS: u64 = 3;

impl RedisBroker {
    /// Looks at how the server was found, where the URL does not name it.
    pub(super) async fn place(&self) -> Option<Check> {
        match self.way().await {
            Way::Named => None,
            Way::Sentinel(guide) => Some(of_sentinels(guide).await),
            Way::Cluster(slot) => Some(self.of_cluster(&slot).await),
        }
    }

    async fn of_cluster(&self, slot: &Slot) -> Check {
        match self.ask::<String>("doctor", redis::cmd("CLUSTER").arg("INFO").clone()).await {
            Ok(info) => cluster(slot, &Info::new(info)),
            Err(error) => {
                let found =
                    format!("{}; the cluster does not say how it is: {}", place(slot), error.report());
                Check::warn("cluster", found, "this user needs +cluster|info")
            }
        }
    }
}

async fn of_sentinels(mut guide: Guide) -> Check {
    let asked = async { Ok::<_, redis::RedisError>((guide.facts().await?, guide.quorum().await?)) };
    let silent = |_| Err(redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)));
    match tokio::time::timeout(ANSWER, asked).await.unwrap_or_else(silent) {
        Ok((facts, quorum)) => sentinels(&guide.sentinel.to_string(), &facts, quorum.err().as_deref()),
        Err(error) => {
            let found = format!("the sentinel {} does not say how the master is: {error}", guide.sentinel);
            Check::warn("sentinel", found, "see its log")
        }
    }
}

fn sentinels(asked: &str, facts: &BTreeMap<String, String>, no_quorum: Option<&str>) -> Check {
    let fact = |name: &str| facts.get(name).map(String::as_str).unwrap_or_default();
    let number = |name: &str| fact(name).parse::<u64>().unwrap_or(0);
    let (replicas, sentinels) = (number("num-slaves"), number("num-other-sentinels") + 1);
    let found = format!(
        "the sentinel {asked} says that the master \"{}\" is at {}:{}, with {replicas} replicas; {sentinels} sentinels watch it, and {} must agree (quorum)",
        fact("name"),
        fact("ip"),
        fact("port"),
        number("quorum"),
    );
    let name = "sentinel";
    if let Some(said) = no_quorum {
        return Check::bad(
            name,
            format!("{found}; now nobody would replace it: {said}"),
            "start the sentinels that are gone",
        );
    }
    if replicas == 0 {
        return Check::warn(name, format!("{found}: there is nobody to replace it"), "start a replica");
    }
    if sentinels < SENTINELS {
        let advice = "three sentinels or more, each on a host of its own, and a quorum of two";
        return Check::warn(name, format!("{found}: where one of them is gone, nobody replaces it"), advice);
    }
    Check::ok(name, found)
}

fn place(slot: &Slot) -> String {
    format!("the namespace is on {}, which has its slot {}", slot.server, slot.number)
}

fn cluster(slot: &Slot, info: &Info) -> Check {
    let found = format!("{}; {} servers of the cluster have slots", place(slot), info.get("cluster_size"));
    let failing: u64 = ["cluster_slots_pfail", "cluster_slots_fail"]
        .iter()
        .filter_map(|name| info.number::<u64>(name))
        .sum();
    let advice = "redis-cli --cluster check HOST:PORT";
    match info.get("cluster_state") {
        "ok" if failing == 0 => Check::ok("cluster", found),
        "ok" => Check::warn("cluster", format!("{found}; the servers of {failing} slots are gone"), advice),
        state => Check::bad("cluster", format!("{found}; its state is {state}"), advice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict::{Bad, Ok, Warn};

    #[test]
    fn who_would_take_the_masters_place() {
        let facts = |replicas: &str, others: &str| {
            let facts = [
                ("name", "main"),
                ("ip", "a"),
                ("port", "1"),
                ("num-slaves", replicas),
                ("num-other-sentinels", others),
                ("quorum", "2"),
            ];
            facts.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
        };
        let cases = [
            ("2", "2", None, Ok),
            ("0", "2", None, Warn),
            ("1", "1", None, Warn),
            ("2", "2", Some("only 1 left"), Bad),
        ];
        for (replicas, others, no_quorum, verdict) in cases {
            let check = sentinels("b:2", &facts(replicas, others), no_quorum);
            assert_eq!(check.verdict, verdict, "{check:?}");
            assert!(check.found.contains("\"main\" is at a:1"), "{check:?}");
        }
    }

    #[test]
    fn whether_the_cluster_takes_calls() {
        let slot = Slot { number: 7, server: redis::ConnectionAddr::Tcp("a".to_owned(), 1) };
        let cases = [
            ("cluster_state:ok\r\ncluster_slots_fail:0", Ok),
            ("cluster_state:ok\r\ncluster_slots_pfail:3", Warn),
            ("cluster_state:fail", Bad),
        ];
        for (info, verdict) in cases {
            assert_eq!(cluster(&slot, &Info::new(info.to_owned())).verdict, verdict, "{info}");
        }
    }
}
