//! What the server calls a connection of ours: who looks for the process behind an incarnation asks the server for its connections.

use crate::{Holder, Incarnation};

/// The name of this process's connection: the incarnation, so that it is found, and the process, for people.
pub(super) fn name(incarnation: Incarnation) -> String {
    format!("mh:{incarnation}:{}", Holder::here().label())
}

/// Finds an incarnation in the server's list of connections, a line each, of words `field=value`.
pub(super) fn holder(clients: &str, incarnation: Incarnation) -> Option<Holder> {
    let begin = format!("name=mh:{incarnation}:");
    clients.lines().flat_map(|line| line.split(' ')).find_map(|word| Holder::read(word.strip_prefix(&begin)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_found_by_its_name() {
        let (ours, other) = (Incarnation::generate(), Incarnation::generate());
        let clients = format!(
            "id=1 addr=127.0.0.1:1 name= age=3\nid=2 addr=127.0.0.1:2 name={} age=4\nid=3 name=mh:{other}:x age=5\n",
            name(ours)
        );
        assert_eq!(holder(&clients, ours), Some(Holder::here()));
        assert_eq!(holder(&clients, other), None, "somebody else's name");
        assert_eq!(holder("", ours), None);
    }
}
