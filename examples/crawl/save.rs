//! `crawl save`: writes what was found, one line a page, and gives the file its name when it is whole.
//!
//! A task is run at least once, so what it does must be harmless twice: a page that is in the file already is not written again, by
//! this saver or by the one that is started after it was killed. What is settled is on the disk.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result, bail, ensure};
use manyhands::{App, Broker, Context, TaskError, Worker};
use serde::Deserialize;

use crate::{
    plan::Plan,
    session::{BrokerArg, until_signal},
    tasks::{self, Found, Save},
};

/// How many lines are on their way to the disk at a time.
const THREADS: usize = 16;

/// Where to write.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) broker: BrokerArg,
    /// Where the pages go, one JSON object a line; until it is whole, it has the ending .part
    #[arg(long, value_name = "FILE", default_value = "pages.jsonl")]
    pub(crate) out: PathBuf,
}

/// Saves until no more pages will come, or a signal comes.
pub(crate) async fn save(args: Args) -> Result<ExitCode> {
    let broker = args.broker.open().await?;
    let plan = Plan::find(&*broker).await?.context("there is no crawl: begin one with `crawl start URL`")?;
    let part = part(&args.out)?;
    if is_done(&*broker, &args.out).await? {
        return finish(&*broker, &plan, &args.out).await;
    }
    let lines = Arc::new(Lines::open(&part).with_context(|| format!("cannot write {}", part.display()))?);
    let shutdown = until_signal()?;
    eprintln!("waiting for pages of {}", plan.start);
    Worker::builder(Arc::clone(&broker))
        .app(
            App::new().handle_blocking(move |page: Save, _: &Context| Ok::<_, TaskError>(lines.save(&page)?)),
        )
        .threads(THREADS)
        .until_ended(true)
        .build()?
        .run(&shutdown)
        .await?;
    if shutdown.is_stopping() {
        eprintln!("ended by a signal before all was saved: start it again, and it goes on");
        return Ok(ExitCode::SUCCESS);
    }
    File::open(&part)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::rename(&part, &args.out))
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    finish(&*broker, &plan, &args.out).await
}

/// Whether the file is whole: a saver before this one was killed, or ended, when all was done.
///
/// # Errors
/// When it is somebody else's file.
pub(crate) async fn is_done(broker: &dyn Broker, out: &Path) -> Result<bool> {
    if !out.exists() {
        return Ok(false);
    }
    let status = broker.status(&tasks::queue::<Save>()?).await?;
    ensure!(
        status.is_some_and(|status| status.is_ended()) && !part(out)?.exists(),
        "{} is there already: choose another --out",
        out.display()
    );
    Ok(true)
}

/// The unfinished file.
fn part(out: &Path) -> Result<PathBuf> {
    let name = out.file_name().with_context(|| format!("--out {}: this is no file's name", out.display()))?;
    Ok(out.with_file_name(format!("{}.part", name.to_string_lossy())))
}

/// Says what there is, and what there is not.
async fn finish(broker: &dyn Broker, plan: &Plan, out: &Path) -> Result<ExitCode> {
    let (urls, _) = File::open(out)
        .and_then(|file| written(&file))
        .with_context(|| format!("cannot read {}", out.display()))?;
    println!("{} pages of {} in {}", urls.len(), plan.start, out.display());
    let mut queues = vec![tasks::queue::<Found>()?, tasks::queue::<Save>()?];
    for level in plan.levels() {
        queues.push(tasks::pages(level)?);
    }
    for queue in queues {
        let dead = broker.status(&queue).await?.map_or(0, |status| status.dead);
        if dead > 0 {
            bail!("{dead} tasks of {queue} were given up: `manyhands dead list --queue {queue}` says why");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A file of pages, and what is in it.
#[derive(Debug)]
struct Lines {
    /// The URLs that are in it, and where it is written to.
    written: Mutex<(HashSet<String>, File)>,
    /// The same file, for whoever waits for the disk: others write meanwhile, and one wait does for all that was written before.
    disk: File,
}

/// What tells a page from others.
#[derive(Deserialize)]
struct Line {
    url: String,
}

impl Lines {
    /// Opens a file, or makes one, and goes on where a saver before was stopped. Only one can have it open.
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(|_| io::Error::other("another saver writes it"))?;
        let (urls, whole) = written(&file)?;
        file.set_len(whole)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { disk: file.try_clone()?, written: Mutex::new((urls, file)) })
    }

    /// Writes a page, unless it is there, and returns when it is on the disk.
    fn save(&self, page: &Save) -> io::Result<()> {
        let mut line = serde_json::to_vec(page)?;
        line.push(b'\n');
        {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            let (urls, file) = &mut *written;
            if !urls.contains(&page.url) {
                let before = file.stream_position()?;
                if let Err(error) = file.write_all(&line) {
                    // Half a line on a full disk must not stay in front of the next one.
                    file.set_len(before)?;
                    file.seek(SeekFrom::Start(before))?;
                    return Err(error);
                }
                urls.insert(page.url.clone());
            }
        }
        self.disk.sync_data()
    }
}

/// The URLs of a file, and how many bytes its whole lines have: a saver that was killed in the middle of a write leaves half of one.
fn written(file: &File) -> io::Result<(HashSet<String>, u64)> {
    let (mut file, mut urls, mut whole) = (BufReader::new(file), HashSet::new(), 0);
    let mut line = Vec::new();
    while file.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
        urls.insert(serde_json::from_slice::<Line>(&line)?.url);
        whole += line.len() as u64;
        line.clear();
    }
    Ok((urls, whole))
}
