//! A Cluster: each server has some of the slots, and a namespace has one, as all its keys have one tag.

use std::time::Duration;

use redis::{ConnectionAddr, RedisError, Value};

use super::{
    dial::Line,
    error,
    place::{PAUSE, Place, Places, TRIES, Way},
    reply::unexpected,
};
use crate::Result;

/// The namespace's slot, and who has it.
#[derive(Clone)]
pub(super) struct Slot {
    pub(super) number: u16,
    pub(super) server: ConnectionAddr,
}

/// Slots that the same servers have.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
    /// The one that takes writes, and then its replicas.
    nodes: Vec<Node>,
}

/// A server of a cluster, as another one names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    /// Empty where it is the host that was asked.
    host: String,
    port: u16,
    id: String,
}

impl Places {
    /// Goes on to the server that has the namespace's slot.
    pub(super) async fn by_cluster(
        &self,
        operation: &'static str,
        mut line: Line,
        patience: Duration,
    ) -> Result<Place> {
        if self.database != 0 {
            return Err(error::no_database(operation));
        }
        let failed = |e: RedisError| error::connecting(operation, &e);
        let keyslot = redis::cmd("CLUSTER").arg("KEYSLOT").arg(&self.namespace).clone();
        let number: u16 = keyslot.query_async(&mut line.connection).await.map_err(failed)?;
        let us: String =
            redis::cmd("CLUSTER").arg("MYID").query_async(&mut line.connection).await.map_err(failed)?;
        let found =
            |line: Line| Place { way: Way::Cluster(Slot { number, server: line.server.clone() }), line };
        let mut tries = 1;
        loop {
            let slots: Value =
                redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut line.connection).await.map_err(failed)?;
            let ranges = ranges(&slots).ok_or_else(|| unexpected(operation))?;
            self.learn(
                ranges.iter().flat_map(|range| &range.nodes).map(|node| self.of(node, &line)).collect(),
            );
            let owner = ranges.iter().find(|range| (range.first..=range.last).contains(&number));
            let Some(owner) = owner.and_then(|range| range.nodes.first()) else {
                return Err(error::no_owner(operation, &line.server, number));
            };
            if owner.id == us {
                return Ok(found(line));
            }
            let server = self.of(owner, &line);
            let said = || {
                format!(
                    "{} says that {server} has the slot {number} of the cluster, and the namespace with it",
                    line.server
                )
            };
            let there =
                self.reach(operation, &server, patience).await.map_err(|e| error::within(&said(), e))?;
            // It may have been made one this moment, or not know yet that it was.
            if there.info.is_replica() && tries < TRIES {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let line = self.primary(operation, there).await.map_err(|e| error::within(&said(), e))?;
            return Ok(found(line));
        }
    }

    /// The address of a server of which this one told.
    fn of(&self, node: &Node, asked: &Line) -> ConnectionAddr {
        let host = match &asked.server {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } if node.host.is_empty() => {
                host
            }
            _ => &node.host,
        };
        self.dialer.address(host, node.port)
    }
}

/// Reads the answer to CLUSTER SLOTS: first and last slot, and the servers, each as host, port, id and more.
fn ranges(slots: &Value) -> Option<Vec<Range>> {
    let Value::Array(ranges) = slots else { return None };
    ranges.iter().map(range).collect()
}

fn range(value: &Value) -> Option<Range> {
    let Value::Array(parts) = value else { return None };
    let [Value::Int(first), Value::Int(last), nodes @ ..] = parts.as_slice() else { return None };
    let nodes = nodes.iter().map(node).collect::<Option<_>>()?;
    Some(Range { first: u16::try_from(*first).ok()?, last: u16::try_from(*last).ok()?, nodes })
}

fn node(value: &Value) -> Option<Node> {
    let Value::Array(parts) = value else { return None };
    let [host, Value::Int(port), id, ..] = parts.as_slice() else { return None };
    let text = |value: &Value| redis::from_redis_value_ref::<Option<String>>(value).ok();
    let (host, id) = (text(host)?.unwrap_or_default(), text(id)??);
    Some(Node { host, port: u16::try_from(*port).ok()?, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(slots: &str) -> Option<Vec<Range>> {
        ranges(&redis::parse_redis_value(slots.as_bytes()).unwrap())
    }

    #[test]
    fn who_has_which_slots_is_read() {
        let slots = "*1\r\n*4\r\n:0\r\n:5460\r\n*4\r\n$1\r\na\r\n:7000\r\n$2\r\nid\r\n*2\r\n+hostname\r\n+b\r\n*3\r\n$-1\r\n:7001\r\n$2\r\nie\r\n";
        let nodes = [("a", 7000, "id"), ("", 7001, "ie")];
        let nodes = nodes.map(|(host, port, id)| Node { host: host.to_owned(), port, id: id.to_owned() });
        assert_eq!(told(slots), Some(vec![Range { first: 0, last: 5460, nodes: nodes.to_vec() }]));
        assert_eq!(told("*0\r\n"), Some(Vec::new()), "a cluster without slots");
        for foreign in ["+OK\r\n", "*1\r\n:1\r\n", "*1\r\n*2\r\n:0\r\n:70000\r\n"] {
            assert_eq!(told(foreign), None, "{foreign:?}");
        }
    }
}
