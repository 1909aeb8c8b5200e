//! A Redis Cluster.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Redis, RedisOptions, ports};

/// How many slots a cluster has.
const SLOTS: usize = 16_384;

/// How long the servers may take to agree. Only a broken cluster takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often they are asked.
const ASK: Duration = Duration::from_millis(20);

/// Servers that share the slots. Dropped, they are gone.
#[derive(Debug)]
pub struct Cluster {
    /// The servers: those with slots, in the order of these, and then the replicas.
    pub servers: Vec<Redis>,
    options: RedisOptions,
    /// What they are shown as the time, where it is faked.
    clock: Mutex<Duration>,
}

impl Cluster {
    /// Starts this many servers, each with as many slots as the others, and waits until they agree on who has which.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if Redis is not installed; others if one does not start or they do not agree.
    pub fn start(count: usize) -> io::Result<Self> {
        Self::start_with(count, &Redis::options())
    }

    /// The same, with options. Where they fake the time, it goes on by a second each time the servers are asked, until they agree.
    ///
    /// # Errors
    ///
    /// As [`Cluster::start`].
    pub fn start_with(count: usize, options: &RedisOptions) -> io::Result<Self> {
        let mut cluster = Self { servers: Vec::new(), options: options.clone(), clock: Mutex::default() };
        for at in 0..count {
            let server = cluster.join()?;
            let (first, last) = (SLOTS * at / count, SLOTS * (at + 1) / count - 1);
            // Since 7.0 in one word; but a line has a bound.
            let slots: Vec<_> = (first..=last).map(|slot| slot.to_string()).collect();
            for some in slots.chunks(4096) {
                told(&server.say(&format!("CLUSTER ADDSLOTS {}", some.join(" ")))?)?;
            }
        }
        cluster.wait()?;
        Ok(cluster)
    }

    /// Adds a replica of a server, and waits until all know it.
    ///
    /// # Errors
    ///
    /// As [`Cluster::start`].
    pub fn add_replica(&mut self, of: usize) -> io::Result<()> {
        let id = self.id(of)?;
        self.join()?;
        self.wait()?;
        let replica = &self.servers[self.servers.len() - 1];
        told(&replica.say(&format!("CLUSTER REPLICATE {id}"))?)?;
        self.follows(self.servers.len() - 1)
    }

    /// Waits until a server is a replica, has what its master has, and all others know it.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] if it does not become one.
    pub fn follows(&self, replica: usize) -> io::Result<()> {
        let id = self.id(replica)?;
        until(|| {
            for server in &self.servers {
                let nodes = server.say("CLUSTER NODES")?;
                if !nodes.lines().any(|node| node.starts_with(&id) && node.contains("slave")) {
                    return Ok(false);
                }
            }
            Ok(self.servers[replica].say("INFO replication")?.contains("master_link_status:up"))
        })
    }

    /// What a server is called by the others.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub fn id(&self, at: usize) -> io::Result<String> {
        let answer = self.servers[at].say("CLUSTER MYID")?;
        Ok(answer.lines().nth(1).unwrap_or_default().to_owned())
    }

    /// Starts a server, and makes it known to the first.
    fn join(&mut self) -> io::Result<&Redis> {
        let bus = ports::free()?;
        let options = self.options.clone().with("cluster-enabled", "yes").with("cluster-port", bus);
        let server = options.start()?;
        // Before 7.0 that is not said.
        let bus = if Redis::release()? < (7, 0) { server.port() + 10_000 } else { bus };
        // An epoch of its own, as otherwise they would have to agree on that first.
        told(&server.say(&format!("CLUSTER SET-CONFIG-EPOCH {}", self.servers.len() + 1))?)?;
        if let Some(first) = self.servers.first() {
            told(&first.say(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", server.port()))?)?;
        }
        self.servers.push(server);
        Ok(&self.servers[self.servers.len() - 1])
    }

    /// Waits until all servers know each other, and take calls.
    fn wait(&self) -> io::Result<()> {
        let known = format!("cluster_known_nodes:{}\r\n", self.servers.len());
        until(|| {
            if self.options.has_clock() {
                self.advance(Duration::from_secs(1))?;
            }
            for server in &self.servers {
                let told = server.say("CLUSTER INFO")?;
                if !told.contains("cluster_state:ok") || !told.contains(&known) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Shows all servers a later time, where they go by [`RedisOptions::clock`].
    ///
    /// # Errors
    ///
    /// As [`Redis::set_clock`].
    pub fn advance(&self, by: Duration) -> io::Result<()> {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        *clock += by;
        self.servers.iter().try_for_each(|server| server.set_clock(*clock))
    }

    /// Where they listen, as one broker's URL.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<_> =
            self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
        format!("redis://{}", hosts.join(","))
    }
}

fn told(answer: &str) -> io::Result<()> {
    if answer.starts_with("+OK") { Ok(()) } else { Err(io::Error::other(answer.to_owned())) }
}

fn until(mut reached: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let limit = Instant::now() + PATIENCE;
    while Instant::now() < limit {
        if reached()? {
            return Ok(());
        }
        #[expect(clippy::disallowed_methods, reason = "nothing tells when they agree")]
        std::thread::sleep(ASK);
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "the servers of the cluster do not agree"))
}
