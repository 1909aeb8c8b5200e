//! Redis Sentinels, and what they watch.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use super::{
    Redis, RedisOptions, TRIES, ports,
    process::{Home, Process, Recipe, failed},
    program,
    redis::{log, say, wait},
};

/// Watches the masters of one test. Dropped, it is gone.
#[derive(Debug)]
pub struct Sentinel {
    home: Home,
    port: u16,
    server: Process,
}

impl Sentinel {
    /// Starts one with these lines in its configuration, as `sentinel monitor main 127.0.0.1 6379 2`, and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if Redis is not installed; others if it does not start.
    pub fn start(lines: &[String]) -> io::Result<Self> {
        let home = Home::new()?;
        for _ in 0..TRIES {
            let port = ports::free()?;
            // It writes what it learns into this file.
            let file = home.path().join("sentinel.conf");
            let own = format!("port {port}\nbind 127.0.0.1\ndir {}\n", home.path().display());
            fs::write(&file, own + &lines.join("\n") + "\n")?;
            let recipe = Recipe::new(program("redis-server", "redis-server")?).arg(&file).arg("--sentinel");
            let mut server = home.start(&recipe, &log(home.path()))?;
            if wait(&mut server, local(port), |server| home.kill(server))? {
                return Ok(Self { home, port, server });
            }
        }
        Err(failed("redis-server --sentinel", &log(home.path())))
    }

    /// The port of 127.0.0.1 on which it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Says something to it, a line as one would type it, and tells the answers as they are sent.
    ///
    /// # Errors
    ///
    /// If it does not answer within 20 s.
    pub fn say(&self, line: &str) -> io::Result<String> {
        say(local(self.port), line)
    }

    /// SIGKILL, and returns when it is dead.
    ///
    /// # Errors
    ///
    /// If it does not die.
    pub fn kill(&mut self) -> io::Result<()> {
        self.home.kill(&mut self.server)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// How long they may take to agree. Only broken ones take that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often they are asked.
const ASK: Duration = Duration::from_millis(50);

/// A master and its replicas, and Sentinels that watch them under the name `main`. Dropped, they are gone.
#[derive(Debug)]
pub struct Watched {
    /// Who of them is the master changes: [`Watched::master`].
    pub servers: Vec<Redis>,
    /// Those that watch.
    pub sentinels: Vec<Sentinel>,
}

impl Watched {
    /// Starts this many servers and Sentinels, and waits until they know each other. A master that is silent for a second and a half is
    /// replaced.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if Redis is not installed; others if one does not start or they do not agree.
    pub fn start(servers: usize, sentinels: usize, options: &RedisOptions) -> io::Result<Self> {
        let options = options.clone().with("repl-diskless-sync-delay", 0);
        let servers = (0..servers).map(|_| options.clone().start()).collect::<io::Result<Vec<_>>>()?;
        let master = servers[0].port();
        for replica in &servers[1..] {
            replica.say(&format!("REPLICAOF 127.0.0.1 {master}"))?;
        }
        let mut this = Self { servers, sentinels: Vec::new() };
        this.until(|this| this.in_step(0))?;
        let lines = [
            format!("sentinel monitor main 127.0.0.1 {master} {}", sentinels / 2 + 1),
            "sentinel down-after-milliseconds main 1500".to_owned(),
            "sentinel failover-timeout main 3000".to_owned(),
            "sentinel parallel-syncs main 2".to_owned(),
        ];
        this.sentinels = (0..sentinels).map(|_| Sentinel::start(&lines)).collect::<io::Result<_>>()?;
        this.wait()?;
        Ok(this)
    }

    /// Where the Sentinels listen, as one broker's URL.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.sentinels.iter().map(|one| format!("127.0.0.1:{}", one.port())).collect();
        format!("redis://{}", hosts.join(","))
    }

    /// Which of the servers the first Sentinel calls the master.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub fn master(&self) -> io::Result<usize> {
        let told = self.sentinels[0].say("SENTINEL GET-MASTER-ADDR-BY-NAME main")?;
        let is = |server: &Redis| told.lines().any(|line| line == server.port().to_string());
        let at = self.servers.iter().position(is);
        at.ok_or_else(|| io::Error::other(format!("no server is the master: {told}")))
    }

    /// Makes a server that was killed a replica of the master again, and waits until all know it.
    ///
    /// # Errors
    ///
    /// As [`Watched::start`].
    pub fn return_of(&mut self, server: usize) -> io::Result<()> {
        self.servers[server].restart()?;
        let master = self.servers[self.master()?].port();
        self.servers[server].say(&format!("REPLICAOF 127.0.0.1 {master}"))?;
        self.wait()
    }

    /// Waits until all replicas are in step with the master, and all Sentinels know all of them and each other.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] if that does not come about.
    pub fn wait(&self) -> io::Result<()> {
        self.until(|this| {
            let (replicas, others) = (this.servers.len() - 1, this.sentinels.len() - 1);
            for sentinel in &this.sentinels {
                let told = sentinel.say("SENTINEL MASTER main")?;
                let lines: Vec<_> = told.lines().filter(|line| !line.starts_with(['$', '*'])).collect();
                let value = |name: &str| {
                    lines.iter().position(|line| *line == name).and_then(|at| lines.get(at + 1)).copied()
                };
                let counts =
                    [value("num-slaves"), value("num-other-sentinels")].map(|text| text?.parse().ok());
                if value("flags") != Some("master") || counts != [Some(replicas), Some(others)] {
                    return Ok(false);
                }
                let told = sentinel.say("SENTINEL REPLICAS main")?;
                if told.lines().any(|line| line.contains("s_down") || line.contains("disconnected")) {
                    return Ok(false);
                }
            }
            this.in_step(this.master()?)
        })
    }

    /// Whether all others follow this server.
    fn in_step(&self, master: usize) -> io::Result<bool> {
        let told = self.servers[master].say("INFO replication")?;
        Ok(told.contains("role:master") && told.matches("state=online").count() == self.servers.len() - 1)
    }

    fn until(&self, mut reached: impl FnMut(&Self) -> io::Result<bool>) -> io::Result<()> {
        let limit = Instant::now() + PATIENCE;
        while Instant::now() < limit {
            if reached(self)? {
                return Ok(());
            }
            #[expect(clippy::disallowed_methods, reason = "nothing tells when they agree")]
            std::thread::sleep(ASK);
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "master, replicas and sentinels do not agree"))
    }
}

fn local(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}
