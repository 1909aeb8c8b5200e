//! A RabbitMQ server.

use std::{
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{
    Detached, TRIES, missing,
    process::{Home, Process, Recipe, failed},
    program,
    rabbitmq_ports::Ports,
};
use crate::kill::Signal;

/// Debian's own starter. The one on the PATH becomes another user first, who cannot write here.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// Where Debian's package has the release, in a folder that is named by it.
const LIBRARIES: &str = "/usr/lib/rabbitmq/lib";

/// Its operator's command.
const OPERATE: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";

/// Names a server that many tests may use, each in namespaces of its own.
const SHARED: &str = "MANYHANDS_TEST_RABBITMQ";

/// Two threads that do not spin while they wait: a test has the machine not for itself. The port on which nodes of a
/// cluster meet is for this machine only.
const ERLANG: &str =
    "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}";

/// A server of one test. Dropped, it is gone with all it wrote and its epmd.
#[derive(Debug)]
pub struct RabbitMq {
    home: Home,
    options: RabbitMqOptions,
    ports: Ports,
    /// None in a cluster, whose nodes share one.
    names: Option<Process>,
    server: Process,
}

/// What a [`RabbitMq`] is started with.
#[derive(Clone, Debug, Default)]
pub struct RabbitMqOptions {
    lines: Vec<String>,
    pub(super) management: bool,
    pub(super) encrypts: bool,
    /// Where it listens, unless on the loopback.
    pub(super) address: Option<Ipv4Addr>,
}

impl RabbitMqOptions {
    /// Adds a line to `rabbitmq.conf`.
    #[must_use]
    pub fn config(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// The heartbeat that the server proposes: whole seconds, at least one. A peer that is silent for twice as long is
    /// taken for dead.
    #[must_use]
    pub fn heartbeat(self, every: Duration) -> Self {
        self.config(format!("heartbeat = {}", every.as_secs().max(1)))
    }

    /// Enables the management plugin: see [`RabbitMq::management_url`].
    #[must_use]
    pub fn management(mut self) -> Self {
        self.management = true;
        self
    }

    /// Also listens for encrypted connections, with this certificate and its key, and what is told of `ssl_options` besides.
    #[must_use]
    pub fn tls(mut self, ca: &Path, cert: &Path, key: &Path) -> Self {
        self.encrypts = true;
        self.config(format!("ssl_options.cacertfile = {}", ca.display()))
            .config(format!("ssl_options.certfile = {}", cert.display()))
            .config(format!("ssl_options.keyfile = {}", key.display()))
    }

    /// Listens for clients on this address instead of the loopback's, where the node still finds itself. To be started, killed and started again
    /// in the network that has the address: see [`Host::inside`](crate::hosts::Host::inside).
    #[must_use]
    pub fn at(self, address: Ipv4Addr) -> Self {
        Self { address: Some(address), ..self }
    }

    /// Starts the server and waits until it speaks AMQP.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if it is not installed; others if it does not start.
    pub fn start(self) -> io::Result<RabbitMq> {
        let home = Home::new()?;
        for _ in 0..TRIES {
            let ports = Ports::free(&self)?;
            self.prepare(home.path(), ports)?;
            let mut names = home.start(&epmd(ports.names)?, &log(home.path()))?;
            match serve(&home, ports) {
                Ok(Some(server)) => {
                    let names = Some(names);
                    return Ok(RabbitMq { home, options: self, ports, names, server });
                }
                Ok(None) => home.kill(&mut names)?,
                Err(error) => {
                    home.kill(&mut names)?;
                    return Err(error);
                }
            }
        }
        Err(failed("rabbitmq-server", &log(home.path())))
    }

    /// Starts the server for good, in this folder, which must be there.
    ///
    /// # Errors
    ///
    /// As [`RabbitMqOptions::start`].
    pub fn detach(&self, folder: &Path) -> io::Result<Detached> {
        let end = |process: &mut Process| process.kill(|_| Ok(()));
        for _ in 0..TRIES {
            let ports = Ports::free(self)?;
            self.prepare(folder, ports)?;
            let mut names = epmd(ports.names)?.detach(&log(folder))?;
            let mut server = match recipe(folder, ports).and_then(|recipe| recipe.detach(&log(folder))) {
                Ok(server) => server,
                Err(error) => {
                    end(&mut names)?;
                    return Err(error);
                }
            };
            match wait(&mut server, ports, end) {
                Ok(true) => return Detached::new(ports.url(), &[&server, &names]),
                Ok(false) => end(&mut names)?,
                Err(error) => {
                    end(&mut names)?;
                    return Err(error);
                }
            }
        }
        Err(failed("rabbitmq-server", &log(folder)))
    }

    fn prepare(&self, folder: &Path, ports: Ports) -> io::Result<()> {
        let Ports { address, amqp, .. } = ports;
        let mut text =
            format!("listeners.tcp.1 = {address}:{amqp}\nloopback_users = none\nlog.console = false\n");
        text.extend(ports.tls.map(|port| format!("listeners.ssl.1 = {address}:{port}\n")));
        self.lines.iter().for_each(|line| text.extend([line.as_str(), "\n"]));
        if self.management {
            text.push_str(&format!(
                "management.tcp.ip = {address}\nmanagement.tcp.port = {}\n",
                ports.management
            ));
        }
        fs::write(folder.join("rabbitmq.conf"), text)?;
        fs::write(folder.join("enabled"), if self.management { "[rabbitmq_management].\n" } else { "[].\n" })
    }
}

impl RabbitMq {
    /// Starts a server and waits until it speaks AMQP, which takes seconds: see also [`RabbitMq::shared_url`].
    ///
    /// # Errors
    ///
    /// As [`RabbitMqOptions::start`].
    pub fn start() -> io::Result<Self> {
        RabbitMqOptions::default().start()
    }

    /// Starts a node of a cluster in a folder that has the cluster's cookie; none if it cannot have its ports.
    pub(super) fn join(home: Home, options: RabbitMqOptions, ports: Ports) -> io::Result<Option<Self>> {
        options.prepare(home.path(), ports)?;
        let Some(server) = serve(&home, ports)? else { return Ok(None) };
        Ok(Some(Self { home, options, ports, names: None, server }))
    }

    /// Tells whether it is installed, as Debian does it.
    #[must_use]
    pub fn is_installed() -> bool {
        Path::new(SERVER).exists() && program("epmd", "").is_ok()
    }

    /// Another server than the usual one: `RabbitMq::options().config("…").start()`.
    #[must_use]
    pub fn options() -> RabbitMqOptions {
        RabbitMqOptions::default()
    }

    /// The release that is installed, as `(3, 10)`: some of what a server does depends on it.
    ///
    /// # Errors
    ///
    /// If none is, or its folder has another name than in Debian's package.
    pub fn release() -> io::Result<(u32, u32)> {
        let folders = fs::read_dir(LIBRARIES)?.flatten();
        let names = folders.map(|folder| folder.file_name().to_string_lossy().into_owned());
        let release = |name: String| {
            let mut numbers = name.strip_prefix("rabbitmq_server-")?.split('.');
            Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
        };
        names.filter_map(release).next().ok_or_else(|| missing("rabbitmq-server"))
    }

    /// A server for all tests that keep to namespaces of their own: the one that `MANYHANDS_TEST_RABBITMQ` names,
    /// else one that is started once for this process and ends with it.
    ///
    /// # Errors
    ///
    /// As [`RabbitMqOptions::start`].
    pub fn shared_url() -> io::Result<String> {
        static OWN: Mutex<Option<RabbitMq>> = Mutex::new(None);
        if let Some(url) = std::env::var(SHARED).ok().filter(|url| !url.is_empty()) {
            return Ok(url);
        }
        let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
        if own.is_none() {
            *own = Some(Self::start()?);
        }
        Ok(own.as_ref().map(Self::url).unwrap_or_default())
    }

    /// Where it listens, as a broker's URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.ports.url()
    }

    /// Where its management plugin answers, if it is enabled.
    #[must_use]
    pub fn management_url(&self) -> String {
        format!("http://{}:{}", self.ports.address, self.ports.management)
    }

    /// The port on which it listens, of 127.0.0.1 unless it was told another address.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.amqp
    }

    /// The port of 127.0.0.1 on which its epmd listens, whom the node asks once a minute whether it is still known.
    #[must_use]
    pub fn epmd_port(&self) -> u16 {
        self.ports.names
    }

    /// The port of 127.0.0.1 on which it listens for encrypted connections, if it does.
    #[must_use]
    pub fn tls_port(&self) -> Option<u16> {
        self.ports.tls
    }

    /// Whether this is the name of its node.
    #[must_use]
    pub fn is_named(&self, node: &str) -> bool {
        self.ports.node() == node
    }

    /// The leader of the server's processes.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Its folder, which holds its data, its `log/` and what it said when it started, `output`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.home.path()
    }

    /// Whether the node has written down that there is a quorum queue with this in its name. It does that twice a second when nothing
    /// else is going on; killed before, it forgets a new queue with all that it confirmed.
    ///
    /// # Errors
    ///
    /// If its list of quorum queues cannot be found.
    pub fn has_noted(&self, queue: &str) -> io::Result<bool> {
        let only = |folder: PathBuf| -> io::Result<PathBuf> {
            let folders = fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.path()));
            let mut folders = folders.collect::<io::Result<Vec<_>>>()?.into_iter();
            let data = |path: &PathBuf| path.is_dir() && !path.to_string_lossy().ends_with("-plugins-expand");
            folders
                .find(data)
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, folder.display().to_string()))
        };
        let node = only(self.home.path().join("mnesia"))?;
        let list = fs::read(only(node.join("quorum"))?.join("names.dets"))?;
        Ok(list.windows(queue.len().max(1)).any(|part| part == queue.as_bytes()))
    }

    /// Runs `rabbitmqctl` with these arguments, as an operator of this server does; it takes a second or two.
    ///
    /// # Errors
    ///
    /// If it cannot be run or fails: with what it said.
    pub fn operate(&self, args: &[&str]) -> io::Result<()> {
        self.ask(args).map(drop)
    }

    /// The same, and tells what it said.
    ///
    /// # Errors
    ///
    /// As [`RabbitMq::operate`].
    pub fn ask(&self, args: &[&str]) -> io::Result<String> {
        let mut command = Command::new(OPERATE);
        command.arg("--quiet").arg("--node").arg(self.ports.node()).args(args);
        command.env("HOME", self.home.path()).env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
        command.env("ERL_EPMD_PORT", self.ports.names.to_string());
        let output = command.stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(io::Error::other(format!("rabbitmqctl {args:?}: {}", String::from_utf8_lossy(&said))))
    }

    /// SIGSTOP: the kernel still takes connections and bytes for it, but nobody answers.
    ///
    /// # Errors
    ///
    /// If it was killed.
    pub fn suspend(&self) -> io::Result<()> {
        self.server.suspend()
    }

    /// SIGCONT: it goes on.
    ///
    /// # Errors
    ///
    /// If it was killed.
    pub fn resume(&self) -> io::Result<()> {
        self.server.signal(Signal::CONT)
    }

    /// SIGKILL, and returns when it is dead. Its ports and data stay, for [`RabbitMq::restart`].
    ///
    /// # Errors
    ///
    /// If it does not die.
    pub fn kill(&mut self) -> io::Result<()> {
        self.home.kill(&mut self.server)
    }

    /// Starts it again, on the same data and port; one that still runs is killed first.
    ///
    /// # Errors
    ///
    /// As [`RabbitMqOptions::start`]; also if somebody took one of its ports.
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill()?;
        self.options.prepare(self.home.path(), self.ports)?;
        let server = serve(&self.home, self.ports)?;
        self.server = server.ok_or_else(|| failed("rabbitmq-server", &log(self.home.path())))?;
        Ok(())
    }

    /// Starts it again on another address, with the same data and port; what still runs of it is killed first. To be called in the network that
    /// has the address.
    ///
    /// # Errors
    ///
    /// As [`RabbitMq::restart`].
    pub fn restart_at(&mut self, address: Ipv4Addr) -> io::Result<()> {
        self.kill()?;
        self.ports.address = address;
        // The one that nodes ask for each other is of the host, too.
        if let Some(names) = &mut self.names {
            self.home.kill(names)?;
            *names = self.home.start(&epmd(self.ports.names)?, &log(self.home.path()))?;
        }
        self.restart()
    }

    /// Ends it and removes what it wrote, as dropping it does.
    pub fn stop(self) {}
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        let _ = self.kill();
        if let Some(names) = &mut self.names {
            let _ = self.home.kill(names);
        }
    }
}

pub(super) fn log(folder: &Path) -> PathBuf {
    folder.join("output")
}

/// The server would start one for itself, which then belongs to nobody.
pub(super) fn epmd(port: u16) -> io::Result<Recipe> {
    let recipe = Recipe::new(program("epmd", "rabbitmq-server")?);
    Ok(recipe.arg("-port").arg(port.to_string()).arg("-address").arg("127.0.0.1"))
}

fn recipe(folder: &Path, ports: Ports) -> io::Result<Recipe> {
    if !Path::new(SERVER).exists() {
        return Err(missing("rabbitmq-server"));
    }
    Ok(Recipe::new(SERVER)
        .env("HOME", folder)
        .env("RABBITMQ_NODENAME", ports.node())
        .env("RABBITMQ_DIST_PORT", ports.nodes.to_string())
        .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq"))
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", folder.join("log"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("enabled"))
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", ERLANG)
        .env("ERL_EPMD_PORT", ports.names.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1"))
}

/// Starts a server; `None` if it cannot have its ports.
fn serve(home: &Home, ports: Ports) -> io::Result<Option<Process>> {
    let mut server = home.start(&recipe(home.path(), ports)?, &log(home.path()))?;
    Ok(wait(&mut server, ports, |server| home.kill(server))?.then_some(server))
}

/// Waits until the server works, and ends it otherwise; false if it ended by itself.
fn wait(
    server: &mut Process,
    ports: Ports,
    end: impl Fn(&mut Process) -> io::Result<()>,
) -> io::Result<bool> {
    let ready = server.ready(|| ports.greets().unwrap_or(false));
    if !matches!(ready, Ok(true)) {
        end(server)?;
    }
    ready
}
