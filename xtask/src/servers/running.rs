//! `cargo xtask servers`: servers to try things with, which run until they are stopped.
//!
//! Each has a folder below `servers/` in cargo's target folder, and beside it a file that tells how to find it again.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Subcommand, ValueEnum};
use manyhands_test_support::servers::{Detached, RabbitMq, Redis};

use crate::workspace::Workspace;

/// What to do with the servers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start what does not run yet, and print where it listens, as lines for a shell.
    Start {
        /// Only this one.
        server: Option<Kind>,
    },
    /// End them and remove their data.
    Stop {
        /// Only this one.
        server: Option<Kind>,
    },
}

/// The servers there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Kind {
    /// A Redis that keeps an append-only file.
    Redis,
    /// A RabbitMQ.
    Rabbitmq,
}

impl Kind {
    /// The name of its folder.
    fn name(self) -> &'static str {
        match self {
            Kind::Redis => "redis",
            Kind::Rabbitmq => "rabbitmq",
        }
    }

    /// Starts it in an empty folder.
    fn start(self, folder: &Path) -> Result<Detached> {
        Ok(match self {
            Kind::Redis => Redis::options().append_only().detach(folder)?,
            Kind::Rabbitmq => RabbitMq::options().detach(folder)?,
        })
    }
}

/// Does what the command line says.
pub(crate) fn run(command: &Command) -> Result<()> {
    if matches!(command, Command::Start { .. }) {
        super::check(super::TESTS)?;
    }
    let (Command::Start { server } | Command::Stop { server }) = command;
    let kinds = server.map_or_else(|| Kind::value_variants().to_vec(), |kind| vec![kind]);
    let servers = Servers::open(&Workspace::find()?.target()?)?;
    match command {
        Command::Start { .. } => {
            // All of them before the first line: who reads the lines gets all or none.
            let urls = kinds.iter().map(|kind| servers.start(*kind)).collect::<Result<Vec<_>>>()?;
            urls.iter().for_each(|url| println!("export MANYHANDS_BROKER={url}"));
        }
        Command::Stop { .. } => {
            for kind in kinds {
                let stopped = servers.stop(kind)?;
                eprintln!("{} {}", kind.name(), if stopped { "stopped" } else { "does not run" });
            }
        }
    }
    Ok(())
}

/// The folder of all servers.
#[derive(Debug)]
struct Servers {
    folder: PathBuf,
    /// Held, so that two commands at once do not start two.
    _lock: File,
}

impl Servers {
    fn open(target: &Path) -> Result<Self> {
        let folder = target.join("servers");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let lock = File::create(folder.join("lock"))?;
        lock.lock()?;
        Ok(Self { folder, _lock: lock })
    }

    fn record(&self, kind: Kind) -> PathBuf {
        self.folder.join(format!("{}.json", kind.name()))
    }

    /// The server that was started last, whether it still runs or not.
    fn last(&self, kind: Kind) -> Result<Option<Detached>> {
        let path = self.record(kind);
        match fs::read(&path) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text).with_context(|| path.display().to_string())?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Starts a server that does not run, and tells where it listens.
    fn start(&self, kind: Kind) -> Result<String> {
        if let Some(server) = self.last(kind)?
            && server.is_running()?
        {
            eprintln!("{} runs", kind.name());
            return Ok(server.url);
        }
        // What is left of one that died by itself.
        self.stop(kind)?;
        let folder = self.folder.join(kind.name());
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let server = kind.start(&folder)?;
        let recorded = serde_json::to_vec(&server).map_err(anyhow::Error::from);
        if let Err(error) = recorded.and_then(|text| Ok(fs::write(self.record(kind), text)?)) {
            // Nobody would find it.
            server.kill()?;
            return Err(error);
        }
        eprintln!("{} started, in {}", kind.name(), folder.display());
        Ok(server.url)
    }

    /// Ends a server and removes its data; false if it did not run.
    fn stop(&self, kind: Kind) -> Result<bool> {
        let mut ran = false;
        if let Some(server) = self.last(kind)? {
            ran = !server.running()?.is_empty();
            server.kill()?;
        }
        for (path, remove) in [
            (self.folder.join(kind.name()), fs::remove_dir_all as fn(PathBuf) -> std::io::Result<()>),
            // After the data: as long as there are any, it is known whose they are.
            (self.record(kind), fs::remove_file),
        ] {
            match remove(path.clone()) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| path.display().to_string());
                }
                _ => {}
            }
        }
        Ok(ran)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_started_once_and_stopped_once() {
        let target = tempfile::tempdir().unwrap();
        let servers = Servers::open(target.path()).unwrap();
        assert!(!servers.stop(Kind::Redis).unwrap());
        let url = servers.start(Kind::Redis).unwrap();
        assert_eq!(servers.start(Kind::Redis).unwrap(), url);
        // One that died by itself is started anew.
        servers.last(Kind::Redis).unwrap().unwrap().kill().unwrap();
        servers.start(Kind::Redis).unwrap();
        assert!(servers.stop(Kind::Redis).unwrap());
        assert!(!servers.stop(Kind::Redis).unwrap());
        let left: Vec<_> =
            fs::read_dir(target.path().join("servers")).unwrap().map(|f| f.unwrap().file_name()).collect();
        assert_eq!(left, ["lock"]);
    }
}
