//! What follows from how the nodes are: whether all are there, what fills up, what they were told to be able to.

use serde_json::Value;

use crate::{Check, backends::rabbitmq::greeting::Version};

/// From how much on something that fills up is worth a look, and from how much on something must be done, in percent.
const FULL: (u64, u64) = (80, 95);

/// So many times what a disk must have free should be free.
const ROOM: u64 = 2;

/// How many nodes a queue should be on, where there are as many.
const MEMBERS: usize = 3;

/// The flags without which queues are not what they should be, and since when nobody need ask.
const FLAGS: [&str; 2] = ["quorum_queue", "stream_queue"];

pub(super) fn flags(version: Option<&Version>, flags: &[Value]) -> Option<Check> {
    if version.is_some_and(|version| version.is_at_least(Version::STREAMS)) {
        return None;
    }
    let what = "flags";
    let is_on = |name: &str| flags.iter().any(|flag| flag["name"] == name && flag["state"] == "enabled");
    let off: Vec<_> = FLAGS.into_iter().filter(|name| !is_on(name)).collect();
    if off.is_empty() {
        return Some(Check::ok(what, "quorum_queue and stream_queue are enabled"));
    }
    let found = format!(
        "not enabled: {}; without them the server hands on without waiting for the confirm, and a crash loses tasks",
        off.join(", ")
    );
    Some(Check::bad(
        what,
        found,
        format!("rabbitmqctl enable_feature_flag {}", off.join(" ; rabbitmqctl enable_feature_flag ")),
    ))
}

/// Whether all nodes are there, and all queues on enough of them.
pub(super) fn cluster(nodes: &[Value], queues: &[Value]) -> Check {
    let what = "cluster";
    let names = |nodes: Vec<&Value>| nodes.iter().map(|node| name(node)).collect::<Vec<_>>().join(", ");
    let gone: Vec<_> = nodes.iter().filter(|node| node["running"] != true).collect();
    let split: Vec<_> = nodes.iter().filter(|node| count(&node["partitions"]) > 0).collect();
    let found = match nodes.len() {
        1 => "1 node".to_owned(),
        count => format!("{count} nodes, {} of them running", count - gone.len()),
    };
    if !split.is_empty() {
        let found = format!("{found}; {} do not see all others (partitions)", names(split));
        return Check::bad(
            what,
            found,
            "mend the network between them, and restart the nodes of the smaller part",
        );
    }
    let quorum: Vec<_> =
        queues.iter().filter(|queue| queue["type"] == "quorum" && count(&queue["members"]) > 0).collect();
    let standing: Vec<_> =
        quorum.iter().filter(|queue| count(&queue["online"]) <= count(&queue["members"]) / 2).collect();
    if let Some(first) = standing.first() {
        let found = format!(
            "{found}; {} queues have no majority of their members, and stand still: {}",
            standing.len(),
            name(first)
        );
        return Check::bad(what, found, "start the nodes that are gone");
    }
    if !gone.is_empty() {
        return Check::warn(
            what,
            format!("{found}; gone: {}", names(gone)),
            "start it, or: rabbitmqctl forget_cluster_node",
        );
    }
    let wanted = nodes.len().min(MEMBERS);
    let few: Vec<_> = quorum.iter().filter(|queue| count(&queue["members"]) < wanted).collect();
    if let Some(first) = few.first() {
        let found = format!(
            "{found}; {} of {} queues are on fewer than {wanted}, as {}: they stand still, or are lost, with those",
            few.len(),
            quorum.len(),
            name(first)
        );
        return Check::warn(what, found, "rabbitmq-queues grow NODE all --queue-pattern '^mh:'");
    }
    let single = if nodes.len() == 1 { ": when its host is gone, its queues stand still" } else { "" };
    Check::ok(what, format!("{found}{single}"))
}

/// What is said of something of one node; nothing where it does not tell it.
type Of = fn(&Value) -> Option<Check>;

/// What fills up, of the node where it is worst.
pub(super) fn room(nodes: &[Value]) -> Vec<Check> {
    let parts: [(_, Of); 3] = [("memory", memory), ("disk", disk), ("files", files)];
    let running: Vec<_> = nodes.iter().filter(|node| node["running"] == true).collect();
    let worst = |(what, check): (_, Of)| {
        let worst = running.iter().filter_map(|node| check(node)).max_by_key(|check| check.verdict);
        worst.unwrap_or_else(|| Check::warn(what, "no node tells it yet", "look again in ten seconds"))
    };
    parts.map(worst).into()
}

fn memory(node: &Value) -> Option<Check> {
    let (used, most) = (node["mem_used"].as_u64()?, node["mem_limit"].as_u64().filter(|most| *most > 0)?);
    let found =
        format!("{}: {} of {} are used, at which it takes nothing more", name(node), size(used), size(most));
    let advice = "start workers, give it memory, or raise vm_memory_high_watermark";
    Some(filling("memory", percent(used, most), node["mem_alarm"] == true, found, advice))
}

fn disk(node: &Value) -> Option<Check> {
    let (free, least) = (node["disk_free"].as_u64()?, node["disk_free_limit"].as_u64()?);
    let found =
        format!("{}: {} are free; below {} it takes nothing more", name(node), size(free), size(least));
    let advice = "make room on its disk";
    Some(match (node["disk_free_alarm"] == true, free < least.saturating_mul(ROOM)) {
        (true, _) => Check::bad("disk", found, advice),
        (false, true) => Check::warn("disk", found, advice),
        (false, false) => Check::ok("disk", found),
    })
}

fn files(node: &Value) -> Option<Check> {
    let share = |used: &str, most: &str| {
        let (used, most) = (node[used].as_u64()?, node[most].as_u64().filter(|most| *most > 0)?);
        Some((percent(used, most), used, most))
    };
    let all = [
        ("open files", share("fd_used", "fd_total")),
        ("connections", share("sockets_used", "sockets_total")),
        ("Erlang processes", share("proc_used", "proc_total")),
    ];
    let (what, (percent, used, most)) =
        all.into_iter().filter_map(|(what, share)| Some((what, share?))).max_by_key(|(_, share)| share.0)?;
    let found = format!("{}: {used} of {most} {what}", name(node));
    let advice = "raise the limit (LimitNOFILE of its service, or +P), or spread clients over more nodes";
    Some(filling("files", percent, false, found, advice))
}

fn filling(what: &'static str, percent: u64, alarm: bool, found: String, advice: &str) -> Check {
    match percent {
        _ if alarm => Check::bad(what, found, advice),
        percent if percent >= FULL.1 => Check::bad(what, format!("{found}: nearly all"), advice),
        percent if percent >= FULL.0 => Check::warn(what, found, advice),
        _ => Check::ok(what, found),
    }
}

fn percent(used: u64, most: u64) -> u64 {
    used.saturating_mul(100) / most.max(1)
}

fn count(list: &Value) -> usize {
    list.as_array().map_or(0, Vec::len)
}

fn name(thing: &Value) -> &str {
    thing["name"].as_str().unwrap_or("?")
}

fn size(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Verdict::{Bad, Ok, Warn};

    #[test]
    fn flags_matter_before_3_12() {
        let flag = |name: &str, state: &str| json!({ "name": name, "state": state });
        let of = |version: &str, stream: &str| {
            let all = [flag("quorum_queue", "enabled"), flag("stream_queue", stream)];
            flags(Version::parse(version).as_ref(), &all)
        };
        assert_eq!(of("3.10.8", "enabled").unwrap().verdict, Ok);
        let off = of("3.11.2", "disabled").unwrap();
        assert_eq!(off.verdict, Bad);
        assert_eq!(off.advice.unwrap(), "rabbitmqctl enable_feature_flag stream_queue");
        assert_eq!(of("3.12.0", "disabled"), None);
    }

    fn node(name: &str, running: bool) -> Value {
        json!({ "name": name, "running": running, "partitions": [] })
    }

    fn queue(members: &[&str], online: &[&str]) -> Value {
        json!({ "name": "mh:mh:work:q", "type": "quorum", "members": members, "online": online })
    }

    #[test]
    fn a_cluster_has_its_nodes_and_majorities() {
        let three = || vec![node("a", true), node("b", true), node("c", true)];
        let all: &[&str] = &["a", "b", "c"];
        let one_gone = vec![node("a", true), node("b", true), node("c", false)];
        let mut split = three();
        split[0]["partitions"] = json!(["b"]);
        let cases = [
            (vec![node("a", true)], queue(&["a"], &["a"]), Ok, "stand still"),
            (three(), queue(all, all), Ok, "3 of them running"),
            (three(), queue(&["a"], &["a"]), Warn, "on fewer than 3"),
            (one_gone.clone(), queue(all, &["a", "b"]), Warn, "gone: c"),
            (one_gone, queue(all, &["a"]), Bad, "no majority"),
            (split, queue(all, all), Bad, "partitions"),
            // What was made a moment ago is not told of yet.
            (three(), json!({ "name": "q", "type": "quorum" }), Ok, "running"),
        ];
        for (nodes, queue, verdict, part) in cases {
            let check = cluster(&nodes, &[queue]);
            assert!(check.verdict == verdict && check.found.contains(part), "{check:?}");
        }
    }

    #[test]
    fn the_worst_node_counts() {
        let node = |name: &str, used: u64, free: u64, files: u64| {
            json!({
                "name": name, "running": true, "mem_used": used, "mem_limit": 100, "disk_free": free,
                "disk_free_limit": 10, "fd_used": files, "fd_total": 100, "sockets_used": 0, "sockets_total": 90,
            })
        };
        let verdicts = |nodes: &[Value]| room(nodes).iter().map(|check| check.verdict).collect::<Vec<_>>();
        assert_eq!(verdicts(&[node("a", 10, 100, 5)]), [Ok, Ok, Ok]);
        assert_eq!(verdicts(&[node("a", 10, 100, 5), node("b", 80, 19, 95)]), [Warn, Warn, Bad]);
        let mut alarmed = node("a", 10, 100, 5);
        alarmed["disk_free_alarm"] = json!(true);
        assert_eq!(verdicts(&[alarmed]), [Ok, Bad, Ok]);
        assert_eq!(verdicts(&[json!({ "name": "a", "running": true })]), [Warn, Warn, Warn]);
    }
}
