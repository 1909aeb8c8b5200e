//! A cluster of RabbitMQ nodes.

use std::{fs, io, os::unix::fs::PermissionsExt};

use super::{
    RabbitMq, RabbitMqOptions, TRIES, ports,
    process::{Home, Process},
    rabbitmq::{epmd, log},
    rabbitmq_ports::Ports,
};

/// By which the nodes know that they belong together: nobody else can reach them.
const COOKIE: &str = "MANYHANDSTESTCOOKIE";

/// Nodes that share all queues. Dropped, they are gone.
#[derive(Debug)]
pub struct RabbitMqCluster {
    /// The nodes; they can be killed and restarted one by one.
    pub nodes: Vec<RabbitMq>,
    home: Home,
    names: Process,
}

impl RabbitMqCluster {
    /// Starts this many nodes, and waits until all know each other. It takes some 15 s.
    ///
    /// # Errors
    ///
    /// As [`RabbitMqOptions::start`].
    pub fn start(count: usize) -> io::Result<Self> {
        Self::start_with(count, &RabbitMq::options())
    }

    /// The same, with options for each node.
    ///
    /// # Errors
    ///
    /// As [`RabbitMqOptions::start`].
    pub fn start_with(count: usize, options: &RabbitMqOptions) -> io::Result<Self> {
        let home = Home::new()?;
        for _ in 0..TRIES {
            let names = ports::free()?;
            let mut epmd = home.start(&epmd(names)?, &log(home.path()))?;
            match start(count, options, names) {
                Ok(Some(nodes)) => {
                    let online = ["await_online_nodes".to_owned(), count.to_string()];
                    nodes[0].operate(&online.each_ref().map(String::as_str))?;
                    return Ok(Self { nodes, home, names: epmd });
                }
                Ok(None) => home.kill(&mut epmd)?,
                Err(error) => {
                    home.kill(&mut epmd)?;
                    return Err(error);
                }
            }
        }
        Err(super::process::failed("rabbitmq-server", &log(home.path())))
    }

    /// Where they listen, as one broker's URL.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("amqp://guest:guest@{}", hosts.join(","))
    }

    /// Which node leads a quorum queue, as a node says that runs.
    ///
    /// # Errors
    ///
    /// If it cannot be asked, or there is no such queue.
    pub fn leader(&self, asked: usize, queue: &str) -> io::Result<usize> {
        let said = self.nodes[asked].ask(&["list_queues", "name", "leader", "--no-table-headers"])?;
        let of = |line: &str| {
            let (name, leader) = line.split_once('\t')?;
            (name == queue).then(|| self.nodes.iter().position(|node| node.is_named(leader)))?
        };
        let none = || io::Error::new(io::ErrorKind::NotFound, format!("no leader of {queue}: {said}"));
        said.lines().find_map(of).ok_or_else(none)
    }
}

impl Drop for RabbitMqCluster {
    fn drop(&mut self) {
        self.nodes.clear();
        let _ = self.home.kill(&mut self.names);
    }
}

/// Starts the nodes; `None` if one cannot have its ports.
fn start(count: usize, options: &RabbitMqOptions, names: u16) -> io::Result<Option<Vec<RabbitMq>>> {
    let ports = (0..count).map(|_| Ports::of(names, options)).collect::<io::Result<Vec<_>>>()?;
    let mut options = options.clone().config("cluster_formation.peer_discovery_backend = classic_config");
    for (number, ports) in ports.iter().enumerate() {
        let line = format!("cluster_formation.classic_config.nodes.{} = {}", number + 1, ports.node());
        options = options.config(line);
    }
    let options = &options;
    let node = |ports: Ports| {
        let home = Home::new()?;
        let cookie = home.path().join(".erlang.cookie");
        fs::write(&cookie, COOKIE)?;
        fs::set_permissions(&cookie, fs::Permissions::from_mode(0o400))?;
        RabbitMq::join(home, options.clone(), ports)
    };
    let mut ports = ports.into_iter();
    // Before 4.0 all of them at once would each begin a cluster of its own; since then, the first waits for the others.
    let alone = usize::from(RabbitMq::release()? < (4, 0));
    let first = ports.by_ref().take(alone).map(node).collect::<io::Result<Option<Vec<_>>>>()?;
    let Some(first) = first else { return Ok(None) };
    let others: io::Result<Option<Vec<_>>> = std::thread::scope(|scope| {
        let starting: Vec<_> = ports.map(|ports| scope.spawn(move || node(ports))).collect();
        let started = starting.into_iter().map(|node| node.join().unwrap_or(Ok(None)));
        let started: Vec<_> = started.collect::<io::Result<_>>()?;
        Ok(started.into_iter().collect())
    });
    Ok(others?.map(|others| first.into_iter().chain(others).collect()))
}
