//! A Redis server for one test: on a free port, in the test's folder, by a clock that the test moves.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use manyhands_broker::conformance::Failure;

/// How often another port is tried: between asking for a free one and taking it, somebody else may.
const TRIES: usize = 5;

/// Starts a server and waits until it listens.
pub(crate) fn redis(folder: &Path) -> Result<(Child, String), Failure> {
    for _ in 0..TRIES {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut server = start(folder, port)?;
        if listens(&mut server, port)? {
            return Ok((server, format!("redis://127.0.0.1:{port}")));
        }
        let _ = server.wait();
    }
    Err(Failure(format!("redis-server does not start: {}", log(folder))))
}

/// Shows the server a time that stands still, this long after the beginning of 2026.
pub(crate) fn move_clock(folder: &Path, by: Duration) -> io::Result<()> {
    let (seconds, ms) = (by.as_secs(), by.subsec_millis());
    let (day, hour, minute, second) =
        (1 + seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    assert!(day <= 31, "no case takes longer than January");
    // Renamed, so that the server never reads half of it.
    let (new, clock) = (folder.join("clock.new"), folder.join("clock"));
    fs::write(&new, format!("2026-01-{day:02} {hour:02}:{minute:02}:{second:02}.{ms:03}\n"))?;
    fs::rename(new, clock)
}

fn start(folder: &Path, port: u16) -> Result<Child, Failure> {
    move_clock(folder, Duration::ZERO)?;
    let log = fs::File::create(folder.join("log"))?;
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(folder)
        // The C library's malloc before jemalloc's, which asks for the time before libfaketime is ready to tell it.
        .env("LD_PRELOAD", format!("{}:libc.so.6", faketime()?.display()))
        .env("FAKETIME_TIMESTAMP_FILE", folder.join("clock"))
        .env("FAKETIME_NO_CACHE", "1")
        .env("TZ", "UTC")
        // Only what the server tells is faked; its own waiting goes on as it is.
        .env("DONT_FAKE_MONOTONIC", "1")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| Failure(format!("redis-server: {e}; `cargo xtask test` installs it")))
}

/// Where Debian puts it, whatever the machine.
fn faketime() -> Result<PathBuf, Failure> {
    let of =
        |folder: io::Result<fs::DirEntry>| folder.ok().map(|f| f.path().join("faketime/libfaketime.so.1"));
    let found = fs::read_dir("/usr/lib")?.filter_map(of).find(|path| path.exists());
    found.ok_or_else(|| Failure("libfaketime is missing; `cargo xtask test` installs it".to_owned()))
}

/// Waits until the server answers; false if it ended, as when somebody else took the port.
fn listens(server: &mut Child, port: u16) -> Result<bool, Failure> {
    let patience = Instant::now() + Duration::from_secs(20);
    while Instant::now() < patience {
        if server.try_wait()?.is_some() {
            return Ok(false);
        }
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(true);
        }
        std::thread::yield_now();
    }
    Err(Failure("redis-server does not answer".to_owned()))
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}
