//! A Redis server.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{
    Detached, TRIES, missing, ports,
    process::{Home, Process, Recipe, failed},
    program,
};
use crate::kill::Signal;

/// What jemalloc has beside that, over the C library's malloc: Redis 8 calls it. See `malloc.c`.
const MALLOC: &str = concat!(env!("OUT_DIR"), "/malloc.so");

/// Settings that Redis has since 7.0. One before that does without them what a test wants of them.
const SINCE_7: [&str; 3] = ["cluster-port", "enable-debug-command", "enable-protected-configs"];

/// A server of one test. Dropped, it is gone with all it wrote.
#[derive(Debug)]
pub struct Redis {
    home: Home,
    options: RedisOptions,
    port: u16,
    server: Process,
}

/// What a [`Redis`] is started with.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    append_only: bool,
    clock: bool,
    settings: Vec<(String, String)>,
    tls_port: Option<u16>,
    /// Where it listens, unless on the loopback.
    address: Option<Ipv4Addr>,
}

impl RedisOptions {
    /// Keeps what was written, synced once a second as is the server's default: a restart finds it again.
    #[must_use]
    pub fn append_only(self) -> Self {
        Self { append_only: true, ..self }
    }

    /// Keeps what was written, and syncs it before it answers: no kill, and no power cut, takes back what was answered.
    #[must_use]
    pub fn synced(self) -> Self {
        self.append_only().with("appendfsync", "always")
    }

    /// Lets the server go by a time that stands still until [`Redis::set_clock`] moves it. Only what the server
    /// tells is faked, by libfaketime; its own waiting goes on as it is.
    #[must_use]
    pub fn clock(self) -> Self {
        Self { clock: true, ..self }
    }

    /// Whether it goes by [`RedisOptions::clock`].
    pub(super) fn has_clock(&self) -> bool {
        self.clock
    }

    /// Listens on this address instead of the loopback's, and for whoever can reach it, without a password. To be started, killed and started
    /// again in the network that has the address: see [`Host::inside`](crate::hosts::Host::inside).
    #[must_use]
    pub fn at(self, address: Ipv4Addr) -> Self {
        Self { address: Some(address), ..self }
    }

    /// Gives the server a setting of its configuration file, as `maxclients`; for good, also when it is started again.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// Also takes encrypted connections, on a port of its own ([`Redis::tls_port`]): with the certificate and the key in these files, and
    /// from clients whose certificates those of `ca` signed, if `tls-auth-clients` is not `no`.
    #[must_use]
    pub fn tls(self, ca: &Path, cert: &Path, key: &Path) -> Self {
        let files = [("tls-ca-cert-file", ca), ("tls-cert-file", cert), ("tls-key-file", key)];
        let told = files.iter().fold(self, |told, (name, file)| told.with(name, file.display()));
        // Any number: a free one is looked for when it is started.
        Self { tls_port: Some(0), ..told }
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if the server, or libfaketime, is not installed; others if it does not start.
    pub fn start(mut self) -> io::Result<Redis> {
        let home = Home::new()?;
        for _ in 0..TRIES {
            let port = ports::free()?;
            self.tls_port = self.tls_port.map(|_| ports::free()).transpose()?;
            if let Some(server) = self.serve(&home, port)? {
                return Ok(Redis { home, options: self, port, server });
            }
        }
        Err(failed("redis-server", &log(home.path())))
    }

    /// Starts the server for good, in this folder, which must be there.
    ///
    /// # Errors
    ///
    /// As [`RedisOptions::start`].
    pub fn detach(self, folder: &Path) -> io::Result<Detached> {
        for _ in 0..TRIES {
            let port = ports::free()?;
            let mut server = self.recipe(folder, port)?.detach(&log(folder))?;
            let at = self.address(port);
            if wait(&mut server, at, |server| server.kill(|_| Ok(())))? {
                return Detached::new(url(at), &[&server]);
            }
        }
        Err(failed("redis-server", &log(folder)))
    }

    /// Starts a server; `None` if it cannot have the port.
    fn serve(&self, home: &Home, port: u16) -> io::Result<Option<Process>> {
        let mut server = home.start(&self.recipe(home.path(), port)?, &log(home.path()))?;
        Ok(wait(&mut server, self.address(port), |server| home.kill(server))?.then_some(server))
    }

    /// Where it listens with this port.
    fn address(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.address.unwrap_or(Ipv4Addr::LOCALHOST), port)
    }

    fn recipe(&self, folder: &Path, port: u16) -> io::Result<Recipe> {
        let recipe = Recipe::new(program("redis-server", "redis-server")?);
        let recipe = recipe.arg("--port").arg(port.to_string());
        let mut recipe = recipe.arg("--bind").arg(self.address(port).ip().to_string());
        if self.address.is_some() {
            recipe = recipe.arg("--protected-mode").arg("no");
        }
        let recipe = recipe.arg("--save").arg("").arg("--dir").arg(folder);
        let mut recipe = recipe.arg("--appendonly").arg(if self.append_only { "yes" } else { "no" });
        if let Some(port) = self.tls_port {
            recipe = recipe.arg("--tls-port").arg(port.to_string());
        }
        for (name, value) in &self.settings {
            if SINCE_7.contains(&name.as_str()) && Redis::release()? < (7, 0) {
                continue;
            }
            recipe = recipe.arg(format!("--{name}")).arg(value);
        }
        if !self.clock {
            return Ok(recipe);
        }
        if !folder.join("clock").exists() {
            set_clock(folder, Duration::ZERO)?;
        }
        Ok(recipe
            // The C library's malloc before jemalloc's, which asks for the time before libfaketime is ready to
            // tell it.
            .env("LD_PRELOAD", format!("{}:libc.so.6:{MALLOC}", faketime()?.display()))
            .env("FAKETIME_TIMESTAMP_FILE", folder.join("clock"))
            .env("FAKETIME_NO_CACHE", "1")
            .env("TZ", "UTC")
            .env("DONT_FAKE_MONOTONIC", "1"))
    }
}

impl Redis {
    /// The release that is installed, as `(7, 0)`: some of what a server does depends on it.
    ///
    /// # Errors
    ///
    /// If none is, or it does not tell.
    pub fn release() -> io::Result<(u32, u32)> {
        let told = Command::new(program("redis-server", "redis-server")?).arg("--version").output()?.stdout;
        let told = String::from_utf8_lossy(&told);
        let mut numbers = told.split_once("v=").map_or("", |(_, rest)| rest).split('.');
        let mut number = || numbers.next().and_then(|number| number.parse().ok());
        number()
            .zip(number())
            .ok_or_else(|| io::Error::other(format!("which release is it that says {told:?}?")))
    }

    /// Starts a server that keeps nothing, and waits until it answers.
    ///
    /// # Errors
    ///
    /// As [`RedisOptions::start`].
    pub fn start() -> io::Result<Self> {
        RedisOptions::default().start()
    }

    /// Another server than the usual one: `Redis::options().append_only().start()`.
    #[must_use]
    pub fn options() -> RedisOptions {
        RedisOptions::default()
    }

    /// Where it listens, as a broker's URL.
    #[must_use]
    pub fn url(&self) -> String {
        url(self.options.address(self.port))
    }

    /// The port on which it listens, of 127.0.0.1 unless it was told another address.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of 127.0.0.1 on which it takes encrypted connections, if it was told to.
    #[must_use]
    pub fn tls_port(&self) -> Option<u16> {
        self.options.tls_port
    }

    /// The server's process, for signals.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Its folder, which holds its data and its `log`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.home.path()
    }

    /// Shows the server a time that stands still, this long after the beginning of 2026.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] if it has no [`RedisOptions::clock`], or for more than the year; others if the
    /// file cannot be written.
    pub fn set_clock(&self, since: Duration) -> io::Result<()> {
        if !self.options.clock {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "this server goes by the machine's clock",
            ));
        }
        set_clock(self.home.path(), since)
    }

    /// Says something to the server, a line as one would type it, and tells the answers as they are sent.
    ///
    /// # Errors
    ///
    /// If it does not answer within 20 s.
    pub fn say(&self, line: &str) -> io::Result<String> {
        say(self.options.address(self.port), line)
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

    /// SIGKILL, and returns when it is dead. Its port and data stay, for [`Redis::restart`].
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
    /// As [`RedisOptions::start`]; also if somebody took its port.
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill()?;
        let server = self.options.serve(&self.home, self.port)?;
        self.server = server.ok_or_else(|| failed("redis-server", &log(self.home.path())))?;
        Ok(())
    }

    /// Starts it again on another address, with the same data and port; one that still runs is killed first. To be called in the network that
    /// has the address.
    ///
    /// # Errors
    ///
    /// As [`Redis::restart`].
    pub fn restart_at(&mut self, address: Ipv4Addr) -> io::Result<()> {
        self.options.address = Some(address);
        self.restart()
    }

    /// Ends it and removes what it wrote, as dropping it does.
    pub fn stop(self) {}
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn url(at: SocketAddrV4) -> String {
    format!("redis://{at}")
}

pub(super) fn log(folder: &Path) -> PathBuf {
    folder.join("log")
}

/// Waits until the server works, and ends it otherwise; false if it ended by itself.
pub(super) fn wait(
    server: &mut Process,
    at: SocketAddrV4,
    kill: impl Fn(&mut Process) -> io::Result<()>,
) -> io::Result<bool> {
    let pid = server.pid();
    let ready = server.ready(|| answers(at, pid).unwrap_or(false));
    if !matches!(ready, Ok(true)) {
        kill(server)?;
    }
    ready
}

/// Asks whether the server that listens here has read all its data, and whether it is this one.
fn answers(at: SocketAddrV4, pid: u32) -> io::Result<bool> {
    let answer = talk(at, "PING\r\nINFO server", Duration::from_secs(1))?;
    Ok(answer.starts_with("+PONG") && answer.contains(&format!("process_id:{pid}\r\n")))
}

pub(super) fn say(at: SocketAddrV4, line: &str) -> io::Result<String> {
    talk(at, line, Duration::from_secs(20))
}

fn talk(at: SocketAddrV4, line: &str, patience: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(format!("{line}\r\n").as_bytes())?;
    // What was said is answered before the end is seen. A Sentinel knows no QUIT.
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Where Debian puts it, whatever the machine.
fn faketime() -> io::Result<PathBuf> {
    let libraries = fs::read_dir("/usr/lib")?.flatten().map(|f| f.path().join("faketime/libfaketime.so.1"));
    libraries.into_iter().find(|path| path.exists()).ok_or_else(|| missing("libfaketime"))
}

fn set_clock(folder: &Path, since: Duration) -> io::Result<()> {
    let (seconds, ms) = (since.as_secs(), since.subsec_millis());
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let mut day = 1 + seconds / 86_400;
    let mut month = 1;
    for days in [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day <= days {
            break;
        }
        (day, month) = (day - days, month + 1);
    }
    if day > 31 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no test takes longer than 2026"));
    }
    // Renamed, so that the server never reads half of it. Half a millisecond more, as libfaketime reads the fraction as a
    // float, which may be a bit less.
    let (new, clock) = (folder.join("clock.new"), folder.join("clock"));
    fs::write(&new, format!("2026-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{ms:03}5\n"))?;
    fs::rename(new, clock)
}
