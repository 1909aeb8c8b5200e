//! Free ports.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::{Ipv4Addr, TcpListener},
};

/// Where ports are taken from. Below those that the kernel gives to connections: a client that calls a dead server
/// again and again would one day be given the server's port, and be connected to itself.
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// Tells a port of 127.0.0.1 on which nobody listens.
///
/// # Errors
///
/// [`io::ErrorKind::AddrInUse`] if none is found.
pub(crate) fn free() -> io::Result<u16> {
    for _ in 0..1000 {
        // Each state is hashed from other keys.
        let chance = RandomState::new().hash_one(()) % u64::from(COUNT);
        let port = FIRST + u16::try_from(chance).unwrap_or_default();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}
