//! Where a RabbitMQ server listens, and who answers there.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use super::{RabbitMqOptions, ports};

/// Where a server listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    /// For clients; the others are on the loopback.
    pub(super) address: Ipv4Addr,
    pub(super) amqp: u16,
    /// The one that encrypts.
    pub(super) tls: Option<u16>,
    /// For other nodes.
    pub(super) nodes: u16,
    /// Of its epmd, who tells nodes where others listen. Each server has its own: a shared one could not be ended.
    pub(super) names: u16,
    /// Of the management plugin, where it is enabled.
    pub(super) management: u16,
}

impl Ports {
    pub(super) fn free(options: &RabbitMqOptions) -> io::Result<Self> {
        Self::of(ports::free()?, options)
    }

    /// Those of a server that another epmd knows, too.
    pub(super) fn of(names: u16, options: &RabbitMqOptions) -> io::Result<Self> {
        let address = options.address.unwrap_or(Ipv4Addr::LOCALHOST);
        let tls = options.encrypts.then(ports::free).transpose()?;
        let management = options.management.then(ports::free).transpose()?.unwrap_or_default();
        Ok(Self { address, amqp: ports::free()?, tls, nodes: ports::free()?, names, management })
    }

    pub(super) fn url(self) -> String {
        format!("amqp://guest:guest@{}:{}", self.address, self.amqp)
    }

    /// The part of the node's name that is the same in all of its cluster, by which their answers are told from those of another
    /// server.
    fn mark(&self) -> String {
        format!("x{}@", self.names)
    }

    /// The node's name.
    pub(super) fn node(&self) -> String {
        format!("mh{}{}localhost", self.amqp, self.mark())
    }

    /// Begins a connection, up to the server's first frame, and asks whether it is this server. It listens where it encrypts, too, which begins later in 4.0.
    pub(super) fn greets(self) -> io::Result<bool> {
        if let Some(port) = self.tls {
            TcpStream::connect((self.address, port))?;
        }
        let mut stream = TcpStream::connect((self.address, self.amqp))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"AMQP\0\0\x09\x01")?;
        // The kind of the frame, its channel, its length.
        let mut head = [0; 7];
        stream.read_exact(&mut head)?;
        let [kind, _, _, length @ ..] = head;
        let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap_or_default().min(1 << 16)];
        stream.read_exact(&mut body)?;
        // connection.start is method 10 of class 10; among the server's properties is the node's name, or that of one of its
        // cluster, though with the machine's for its second half.
        let mark = self.mark();
        let ours = body.windows(mark.len()).any(|part| part == mark.as_bytes());
        Ok(kind == 1 && body.starts_with(&[0, 10, 0, 10]) && ours)
    }
}
