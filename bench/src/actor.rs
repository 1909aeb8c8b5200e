//! A role as a process of its own, seen by who started it.
//!
//! It writes a line when it is ready, begins when it reads one, and answers with a line of JSON. It ends when its standard input
//! does, so none outlives this process.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use crate::roles::Role;

/// A process in a role; killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Actor {
    held: Held,
    said: BufReader<ChildStdout>,
}

impl Actor {
    /// Starts a process, without waiting for anything.
    pub(crate) fn start(role: &Role) -> Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("role").arg(serde_json::to_string(role)?);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (orders, said) = pipes.context("a process without pipes")?;
        Ok(Self { held: Held { child, orders }, said: BufReader::new(said) })
    }

    /// Starts a process, and returns when it waits for the order to begin.
    pub(crate) fn ready(role: &Role) -> Result<Self> {
        let mut actor = Self::start(role)?;
        actor.answer::<String>()?;
        Ok(actor)
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.held.pid()
    }

    /// Lets it begin.
    pub(crate) fn go(&mut self) -> Result<()> {
        self.held.go()
    }

    /// Waits for the next thing that it says.
    pub(crate) fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        if line.is_empty() {
            bail!("a process of the benchmark ended without an answer ({})", self.held.child.wait()?);
        }
        serde_json::from_str(&line).with_context(|| format!("a process of the benchmark said {line:?}"))
    }

    /// Waits for its answer, and until it has ended.
    pub(crate) fn end<T: DeserializeOwned>(mut self) -> Result<T> {
        let answer = self.answer()?;
        let status = self.held.child.wait()?;
        if !status.success() {
            bail!("a process of the benchmark failed ({status})");
        }
        Ok(answer)
    }

    /// Starts it, lets it begin at once, and returns what it answers.
    pub(crate) fn run<T: DeserializeOwned>(role: &Role) -> Result<T> {
        let mut actor = Self::ready(role)?;
        actor.go()?;
        actor.end()
    }

    /// Hears what it says while it says it.
    pub(crate) fn hear(self) -> Heard {
        let (held, said) = self.split();
        let (sender, lines) = channel();
        thread::spawn(move || said.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        Heard { held, lines }
    }

    /// Gives away what it says, for somebody who waits for it elsewhere.
    pub(crate) fn split(self) -> (Held, BufReader<ChildStdout>) {
        (self.held, self.said)
    }
}

/// A process in a role whose words somebody else reads; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    child: Child,
    orders: ChildStdin,
}

impl Held {
    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn go(&mut self) -> Result<()> {
        Ok(self.orders.write_all(b"go\n")?)
    }
}

/// A process in a role that says one thing after the other; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Heard {
    held: Held,
    lines: Receiver<String>,
}

impl Heard {
    /// Lets it begin, or go on to what comes next.
    pub(crate) fn go(&mut self) -> Result<()> {
        self.held.go()
    }

    /// Waits for the next thing that it says, at most so long.
    pub(crate) fn answer<T: DeserializeOwned>(&self, within: Duration) -> Result<T> {
        let line = self.lines.recv_timeout(within);
        let line = line.context("a process of the benchmark says nothing, or has ended")?;
        serde_json::from_str(&line).with_context(|| format!("a process of the benchmark said {line:?}"))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
