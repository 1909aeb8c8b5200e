//! The saver: writes one line a film beside the file, and renames it at the end.
//!
//! A task is run at least once, so what it does must be harmless twice: a film that is in the file already is not
//! written again, by this saver or by the one that is started after it was killed.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::Context as _;
use manyhands::{Context, TaskError};

use super::{
    films::Film,
    role::{session, work},
    tasks::{self, Save},
};

/// What to write where.
#[derive(Debug, clap::Args)]
pub(crate) struct SaverArgs {
    /// By the environment, where other users cannot read it as they can read arguments.
    #[arg(long, env = "MANYHANDS_BROKER", hide_env_values = true)]
    broker: String,
    /// The unfinished file, which the director made.
    #[arg(long)]
    part: PathBuf,
    /// What it is called in the end.
    #[arg(long)]
    out: PathBuf,
}

/// Saves until no more films will come.
pub(crate) async fn saver_role(args: SaverArgs) -> anyhow::Result<()> {
    let broker = session(&args.broker).await?;
    let lines = match Lines::open(&args.part) {
        // The saver before this one was killed after it had renamed the file: all is done.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        lines => Mutex::new(lines.with_context(|| format!("cannot write {}", args.part.display()))?),
    };
    let save = move |task: Save, _: &Context| -> Result<(), TaskError> {
        Ok(lines.lock().unwrap_or_else(PoisonError::into_inner).save(&task.film)?)
    };
    work(broker, tasks::app().handle_blocking(save), 4).await?;
    finish(&args.part, &args.out).with_context(|| format!("cannot write {}", args.out.display()))
}

/// A file of films, and what is in it.
struct Lines {
    file: File,
    saved: HashSet<u32>,
}

impl Lines {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        // A saver that was killed in the middle of a write leaves half a line.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        let lines = text[..whole].split_inclusive(|byte| *byte == b'\n');
        let films = lines.map(serde_json::from_slice::<Film>).map(|film| Ok(film?.id));
        Ok(Self { saved: films.collect::<io::Result<_>>()?, file })
    }

    fn save(&mut self, film: &Film) -> io::Result<()> {
        if self.saved.contains(&film.id) {
            return Ok(());
        }
        let mut line = serde_json::to_vec(film)?;
        line.push(b'\n');
        let before = self.file.stream_position()?;
        if let Err(error) = self.file.write_all(&line) {
            // Half a line on a full disk must not stay in front of the next one.
            self.file.set_len(before)?;
            self.file.seek(SeekFrom::Start(before))?;
            return Err(error);
        }
        self.saved.insert(film.id);
        Ok(())
    }
}

/// Gives the file its name: who reads it finds all of it or the one before.
fn finish(part: &Path, out: &Path) -> io::Result<()> {
    File::open(part)?.sync_all()?;
    std::fs::rename(part, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::films::films;

    #[test]
    fn a_film_is_written_once_whoever_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join("part");
        File::create(&part).unwrap();
        let films = films();
        let mut first = Lines::open(&part).unwrap();
        films[..3].iter().for_each(|film| first.save(film).unwrap());
        first.save(&films[1]).unwrap();
        // Killed in the middle of the fourth line.
        first.file.write_all(b"{\"id\":1,\"ti").unwrap();
        let mut second = Lines::open(&part).unwrap();
        films[1..5].iter().for_each(|film| second.save(film).unwrap());
        let text = std::fs::read_to_string(&part).unwrap();
        let saved: Vec<Film> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(saved, films[..5]);
    }
}
