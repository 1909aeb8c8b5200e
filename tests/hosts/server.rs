//! The broker's server, which can move from host to host.

use std::{fmt, time::Duration};

use manyhands_test_support::{
    hosts::Host,
    servers::{RabbitMq, Redis},
};

/// The name by which all hosts know the broker's.
pub(crate) const NAME: &str = "broker";

/// How often each side of a connection to RabbitMQ says that it is there. A peer that says nothing for two to three times as long is gone.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Which broker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Redis,
    RabbitMq,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::RabbitMq => "rabbitmq",
        }
    }
}

/// A server that keeps what it confirmed.
#[derive(Debug)]
pub(crate) enum Server {
    Redis(Redis),
    RabbitMq(RabbitMq),
}

impl Server {
    /// Starts one on this host.
    pub(crate) fn start(kind: Kind, host: &Host) -> Self {
        let start = || match kind {
            Kind::Redis => Self::Redis(Redis::options().synced().at(host.address()).start().unwrap()),
            Kind::RabbitMq => {
                let options = RabbitMq::options().heartbeat(HEARTBEAT).at(host.address());
                let rabbit = options.start().unwrap();
                host.discount(rabbit.epmd_port()).unwrap();
                Self::RabbitMq(rabbit)
            }
        };
        host.inside(start).unwrap()
    }

    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Redis(redis) => redis.port(),
            Self::RabbitMq(rabbit) => rabbit.port(),
        }
    }

    /// The broker's URL, with this name or address for its host.
    pub(crate) fn url(&self, host: impl fmt::Display) -> String {
        let scheme = match self {
            Self::Redis(_) => "redis://",
            Self::RabbitMq(_) => "amqp://guest:guest@",
        };
        format!("{scheme}{host}:{}?namespace=hosts", self.port())
    }

    /// Whether nothing that it confirmed would be lost by a kill: a node of RabbitMQ must have written down that a queue is there.
    pub(crate) fn is_settled(&self, queue: &str) -> bool {
        match self {
            Self::Redis(_) => true,
            // The list may be in the middle of being written.
            Self::RabbitMq(rabbit) => rabbit.has_noted(queue).unwrap_or(false),
        }
    }

    /// Kills it without a word to anybody: its host's cable was pulled before.
    pub(crate) fn kill(&mut self) {
        match self {
            Self::Redis(redis) => redis.kill().unwrap(),
            Self::RabbitMq(rabbit) => rabbit.kill().unwrap(),
        }
    }

    /// Starts it on this host, with what it had, and on this address of the host's.
    pub(crate) fn start_again(&mut self, host: &Host, address: std::net::Ipv4Addr) {
        let start = || match self {
            Self::Redis(redis) => redis.restart_at(address).unwrap(),
            Self::RabbitMq(rabbit) => {
                host.discount(rabbit.epmd_port()).unwrap();
                rabbit.restart_at(address).unwrap();
            }
        };
        host.inside(start).unwrap();
    }
}
