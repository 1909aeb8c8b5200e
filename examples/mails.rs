//! Ten processes mail five thousand people, and one line says so at the end. One in a hundred crashes just after it has sent, before
//! it could say so.
//!
//! ```sh
//! cargo run --release --example mails
//! ```
//!
//! A mail whose process crashes is sent again by another one: that is what "at least once" means. There are no more duplicates than crashes,
//! as nothing else that the process was given had begun; the line lists them.

#![allow(clippy::print_stdout, reason = "it is a program, and shows what happens")]

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write,
    path::PathBuf,
    process::ExitCode,
};

use manyhands::multiprocessing::{self, Pool};

const PROCESSES: usize = 10;
const MAILS: u32 = 5000;

/// "Sends" a mail: notes it in a file that stands for the mail server's log. One in a hundred crashes the first time.
fn send(mail: u32, outbox: PathBuf) -> std::io::Result<()> {
    let mut log = OpenOptions::new().create(true).append(true).open(outbox.join("log"))?;
    log.write_all(format!("{mail}\n").as_bytes())?;
    if mail % 100 == 37 && File::create_new(outbox.join(format!("crashed-{mail}"))).is_ok() {
        std::process::abort();
    }
    Ok(())
}

/// As the pool calls it: an error is a text, as results pass as JSON.
fn mail(mail: u32, outbox: PathBuf) -> Result<u32, String> {
    send(mail, outbox).map_err(|error| error.to_string())?;
    Ok(mail)
}

fn run() -> anyhow::Result<()> {
    let outbox = tempfile::tempdir()?;
    let pool = Pool::new(PROCESSES)?;
    let calls = (0..MAILS).map(|mail| (mail, outbox.path().to_owned()));
    for sent in pool.starmap_async(mail, calls, Some(1)).get()? {
        sent.map_err(anyhow::Error::msg)?;
    }
    pool.shutdown();

    let mut sent = BTreeMap::new();
    for line in fs::read_to_string(outbox.path().join("log"))?.lines() {
        *sent.entry(line.parse::<u32>()?).or_insert(0) += 1;
    }
    let crashes = fs::read_dir(outbox.path())?.count() - 1;
    let twice: Vec<_> =
        sent.iter().filter(|(_, count)| **count > 1).map(|(mail, _)| mail.to_string()).collect();
    println!(
        "all {} sent by {PROCESSES} processes; {crashes} crashed, and {} mails went out again: {}",
        sent.len(),
        twice.len(),
        twice.join(" ")
    );
    anyhow::ensure!(sent.len() == MAILS as usize, "not all were sent");
    anyhow::ensure!(sent.values().sum::<usize>() - sent.len() <= crashes, "more duplicates than crashes");
    Ok(())
}

fn main() -> ExitCode {
    multiprocessing::main(|app| app.function(mail), run)
}
