//! The saver: writes one line a film beside the file, and renames it at the end.
//!
//! A task is run at least once, so what it does must be harmless twice: a film that is in the file already is not
//! written again, by this saver or by the one that is started after it was killed.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use manyhands::{Context, TaskError};

use super::{
    films::{FILMS, Film},
    role::{BrokerArgs, Scene},
    tasks::{self, Save},
    verdict::check_films,
};

/// What to write where.
#[derive(Debug, clap::Args)]
pub(crate) struct SaverArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    /// The unfinished file, which the director made
    #[arg(long, hide = true)]
    part: Option<PathBuf>,
    /// Where the films go, one JSON object a line; until it is whole, it has the ending .part
    #[arg(long, value_name = "FILE", default_value = "films.jsonl")]
    out: PathBuf,
}

/// Saves until no more films will come.
pub(crate) async fn saver_role(args: SaverArgs, scene: Scene) -> anyhow::Result<()> {
    let SaverArgs { broker, part, out } = args;
    match part {
        Some(part) => save_films(&broker, &part, &scene).await?.map_or(Ok(()), |_| finish(&part, &out)),
        None => save_alone(&broker, &out, &scene).await,
    }
}

/// Saves into an unfinished file that it makes itself, or finds where a saver before it was stopped; checks and finishes it.
async fn save_alone(broker: &BrokerArgs, out: &Path, scene: &Scene) -> anyhow::Result<()> {
    let name = out.file_name().with_context(|| format!("--out {}: this is no file's name", out.display()))?;
    let part = out.with_file_name(format!("{}.part", name.to_string_lossy()));
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&part)
        .with_context(|| format!("--out {}: cannot write there", out.display()))?;
    let saved = save_films(broker, &part, scene).await?;
    if saved == Some(0) && out.exists() {
        // The queue had ended before: the file is the one of then.
        std::fs::remove_file(&part)?;
        check_films(out)?;
    } else {
        check_films(&part)?;
        finish(&part, out)?;
    }
    scene.audience.remark(&format!("{FILMS} films in {}, equal to what the site made", out.display()));
    Ok(())
}

/// Saves into a file that is there; tells how many films are in it then, or that it was finished before.
async fn save_films(broker: &BrokerArgs, part: &Path, scene: &Scene) -> anyhow::Result<Option<usize>> {
    let broker = scene.session(broker).await?;
    let lines = match Lines::open(part) {
        // The saver before this one was killed after it had renamed the file: all is done.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        lines => Mutex::new(lines.with_context(|| format!("cannot write {}", part.display()))?),
    };
    let lines = Arc::new(lines);
    let kept = Arc::clone(&lines);
    let save = move |task: Save, _: &Context| -> Result<(), TaskError> { Ok(lock(&lines).save(&task.film)?) };
    scene.work(broker, tasks::app().handle_blocking(save), 4).await?;
    Ok(Some(lock(&kept).saved.len()))
}

fn lock(lines: &Mutex<Lines>) -> MutexGuard<'_, Lines> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
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
fn finish(part: &Path, out: &Path) -> anyhow::Result<()> {
    let finished =
        File::open(part).and_then(|file| file.sync_all()).and_then(|()| std::fs::rename(part, out));
    finished.with_context(|| format!("cannot write {}", out.display()))
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
