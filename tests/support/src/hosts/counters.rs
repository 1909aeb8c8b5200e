//! What the kernel counted on the interfaces of a host.

use std::{fs, io};

/// How many packets went over an interface since the host is there.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Packets {
    /// That came in.
    pub received: u64,
    /// That went out.
    pub sent: u64,
}

/// Reads the packets of an interface in the network of this process.
pub(super) fn packets(pid: u32, interface: &str) -> io::Result<Packets> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/dev"))?;
    find(&table, interface)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no {interface}: {table}")))
}

/// A line is `eth0: bytes packets errs drop fifo frame compressed multicast`, and the same of what was sent.
fn find(table: &str, interface: &str) -> Option<Packets> {
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))?;
    let numbers: Vec<u64> = line.split_whitespace().map_while(|number| number.parse().ok()).collect();
    Some(Packets { received: *numbers.get(1)?, sent: *numbers.get(9)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packets_of_an_interface_are_found() {
        let table = "Inter-|   Receive\n face |bytes    packets errs\n    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n  eth0:    1712      21    0    0    0     0          0         0     1959      12    0    0    0     0       0          0\n";
        assert_eq!(find(table, "eth0"), Some(Packets { received: 21, sent: 12 }));
        assert_eq!(find(table, "lo"), Some(Packets::default()));
        assert_eq!(find(table, "eth"), None);
    }
}
