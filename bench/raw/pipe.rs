//! A program in Python that answers one line of JSON after the other, and nobody between it and the pipes.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use manyhands_test_support::ledger::now;

use super::Measured;
use crate::{
    figures::rate,
    settings::{Durability, Settings},
    work::{PAYLOAD, Work},
};

/// The handler that does nothing.
pub(crate) const NOTHING: &str = include_str!("../children/nothing.py");

/// Gives it a task when it has answered the last one, as the protocol of handlers writes it.
pub(super) fn measure(folder: &Path, n: u64) -> Result<Measured> {
    let program = folder.join("nothing.py");
    std::fs::write(&program, NOTHING)?;
    let mut command = Command::new("python3");
    command.arg(program).arg("0").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().context("python3 cannot be started")?;
    let (mut to, from) = child.stdin.take().zip(child.stdout.take()).context("a process without pipes")?;
    let (mut from, mut line) = (BufReader::new(from), String::new());
    let mut read = |from: &mut BufReader<_>| -> Result<()> {
        line.clear();
        ensure!(from.read_line(&mut line)? > 0, "the handler has ended");
        Ok(())
    };
    read(&mut from)?;
    let warm = n / 10;
    let mut began = now();
    for number in 0..warm + n {
        if number == warm {
            began = now();
        }
        let payload = Work::json(began);
        let task = format!(
            "{{\"id\":\"01a22bc0-1b49-77d0-b841-58d19bf287b4\",\"task\":\"work\",\"queue\":\"bench\",\"attempt\":1,\"fence\":1,\"wanted\":false,\"payload\":{payload}}}\n"
        );
        to.write_all(task.as_bytes())?;
        read(&mut from)?;
    }
    let per_second = rate(n, now() - began);
    drop(to);
    child.wait()?;
    let settings = Settings {
        who: "a pipe to python3 and back".to_owned(),
        payload: PAYLOAD,
        batch: 1,
        durability: Durability::Nothing,
        journal: "none".to_owned(),
        n,
    };
    Ok(Measured { settings, per_second, took: None })
}
