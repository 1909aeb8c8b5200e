//! The director: starts the processes, watches them, kills one if asked to, starts those again that nobody else can
//! replace, and tells how it went. It has no session with the broker.

use std::{
    collections::HashMap,
    io::Write,
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use manyhands::BrokerUrl;
use manyhands_broker::{
    Namespace, Place,
    sabotage::{Defect, planted},
};
use manyhands_worker::entry;
use rustix::process::Signal;
use tokio::{process::ChildStdin, sync::mpsc};

use super::{
    board::{Board, Process},
    crew::{Member, News, signal, stop},
    progress::Progress,
    report::report,
    role::RoleName,
    verdict,
};

/// How many pages each of the two fetchers fetches at a time.
const FETCHES: usize = 5;

/// How often a role is started again before the demo gives up.
const RESTARTS: usize = 5;

/// After how many pages a producer that is to be killed waits for it.
const HALT_AFTER: u32 = 4;

/// How long processes may take to end when there is nothing more to do.
const LAST_WORK: Duration = Duration::from_secs(2);

/// How long a stopped process's last words may take.
const LAST_WORDS: Duration = Duration::from_millis(20);

/// What is to be shown.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The broker that the user chose, if any.
    pub(crate) broker: Option<manyhands::Result<BrokerUrl>>,
    pub(crate) out: PathBuf,
    pub(crate) victim: Option<RoleName>,
    pub(crate) kill_delay: Duration,
}

/// Runs the demo.
#[expect(clippy::print_stderr, reason = "a command's error")]
pub(crate) fn direct(plan: Plan) -> ExitCode {
    let chosen = match plan.broker.transpose() {
        Ok(chosen) => chosen,
        Err(error) => return entry::report(&error, None),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let played = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(play(&plan.out, chosen, plan.victim, plan.kill_delay)));
    match played {
        Ok(Ended::Done) => ExitCode::SUCCESS,
        Ok(Ended::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

enum Ended {
    Done,
    Interrupted,
}

async fn play(
    out: &Path,
    chosen: Option<BrokerUrl>,
    victim: Option<RoleName>,
    delay: Duration,
) -> anyhow::Result<Ended> {
    // Each run has a namespace of its own, so that it may run again, or twice at a time, on the same broker.
    let run = format!("demo-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let kept = chosen.is_some();
    let url = match chosen {
        Some(url) => url,
        None => format!("local:{}", folder.path().display()).parse()?,
    };
    if url.place == Place::Memory {
        bail!("memory: is for one process, and the demo has six; use local:/path, or none");
    }
    let url = url.with_namespace(Namespace::new(&run)?);
    // Made here, so that a folder that cannot be written is told before anything starts.
    let part = part_file(out, &run)?;
    let _removed = RemovedAtTheEnd(part.clone());
    let mut stage = Stage::new(url.expose(), out.to_owned(), part, victim, delay)?;
    let began = Instant::now();
    let performed = stage.perform().await;
    let wall = began.elapsed();
    if performed.is_err() {
        // Before the folder goes that they work in.
        stage.end_all().await?;
    }
    let ended = performed?;
    if matches!(ended, Ended::Interrupted) {
        return Ok(ended);
    }
    verdict::check_dead(&stage.board)?;
    let films = verdict::check_films(out)?;
    verdict::check_kill(&stage.board, victim)?;
    let mut text = report(&stage.board, &films, wall, &out.display().to_string());
    if kept {
        text.push_str(&format!("the queues are left in {url}\n"));
    }
    // Whoever closed the pipe has seen enough.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(Ended::Done)
}

/// The unfinished file, beside the finished one, so that renaming is one step.
fn part_file(out: &Path, run: &str) -> anyhow::Result<PathBuf> {
    let name = out.file_name().with_context(|| format!("--out {}: this is no file's name", out.display()))?;
    let part = out.with_file_name(format!("{}.{run}.part", name.to_string_lossy()));
    std::fs::File::create_new(&part)
        .with_context(|| format!("--out {}: cannot write there", out.display()))?;
    Ok(std::path::absolute(part)?)
}

struct RemovedAtTheEnd(PathBuf);

impl Drop for RemovedAtTheEnd {
    fn drop(&mut self) {
        // Renamed by then, unless something went wrong.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The processes at work.
struct Stage {
    url: String,
    out: PathBuf,
    part: PathBuf,
    victim: Option<RoleName>,
    kill_delay: Duration,
    board: Board,
    progress: Progress,
    sender: mpsc::UnboundedSender<News>,
    news: mpsc::UnboundedReceiver<News>,
    /// Their standard inputs; dropping one ends its process.
    alive: HashMap<usize, Option<ChildStdin>>,
    starts: HashMap<RoleName, usize>,
}

impl Stage {
    fn new(
        url: String,
        out: PathBuf,
        part: PathBuf,
        victim: Option<RoleName>,
        kill_delay: Duration,
    ) -> anyhow::Result<Self> {
        let (sender, news) = mpsc::unbounded_channel();
        Ok(Self {
            url,
            out: std::path::absolute(out)?,
            part,
            victim,
            kill_delay,
            board: Board::default(),
            progress: Progress::new(),
            sender,
            news,
            alive: HashMap::new(),
            starts: HashMap::new(),
        })
    }

    /// Starts everybody and watches until the saver is done.
    async fn perform(&mut self) -> anyhow::Result<Ended> {
        let (shutdown, _signals) = entry::until_signal()?;
        self.start(RoleName::Site)?;
        while self.board.site.is_none() {
            self.hear_next().await?;
        }
        for role in
            [RoleName::Saver, RoleName::Parser, RoleName::Fetcher, RoleName::Fetcher, RoleName::Producer]
        {
            self.start(role)?;
        }
        // The saver ends after all others, but for the site, which waits for nothing.
        while self.any_alive(|role| role == RoleName::Saver) && !shutdown.is_stopping() {
            self.kill_when_due().await?;
            tokio::select! {
                // What stops us need not be heard at once: a moment later will do.
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
                heard = self.hear_next() => heard?,
            }
        }
        self.progress.finish();
        if shutdown.is_stopping() {
            self.end_all().await?;
            return Ok(Ended::Interrupted);
        }
        self.listen_while(LAST_WORK, |stage| stage.any_alive(|role| role != RoleName::Site)).await?;
        self.end_all().await?;
        Ok(Ended::Done)
    }

    fn any_alive(&self, wanted: impl Fn(RoleName) -> bool) -> bool {
        self.alive.keys().any(|index| wanted(self.board.processes[*index].role))
    }

    /// Orders everybody to end, and kills who does not: somebody may have stopped them.
    async fn end_all(&mut self) -> anyhow::Result<()> {
        if planted(Defect::StopLeavesChildren) {
            return Ok(());
        }
        self.alive.values_mut().for_each(|stdin| drop(stdin.take()));
        self.listen_while(LAST_WORK, |stage| !stage.alive.is_empty()).await?;
        for index in self.alive.keys() {
            let Process { role, pid, .. } = &self.board.processes[*index];
            self.progress.say(&format!("{role} {pid} does not end, and is killed"));
            signal(*pid, Signal::KILL)?;
        }
        self.listen_while(LAST_WORK, |stage| !stage.alive.is_empty()).await
    }

    fn start(&mut self, role: RoleName) -> anyhow::Result<()> {
        let starts = self.starts.entry(role).or_default();
        *starts += 1;
        let first = *starts == 1;
        let member = Member::start(role, &self.args(role, first), &self.url)
            .with_context(|| format!("cannot start the {role}"))?;
        let index = self.board.start(role, member.pid);
        self.progress.say(&format!("{role} {} started", member.pid));
        let stdin = member.watch(index, self.sender.clone());
        self.alive.insert(index, stdin);
        Ok(())
    }

    fn args(&self, role: RoleName, first: bool) -> Vec<String> {
        let site = self.board.site.clone().unwrap_or_default();
        let path = |path: &Path| path.to_string_lossy().into_owned();
        match role {
            // Started again, it listens where the others look for it.
            RoleName::Site if first => Vec::new(),
            RoleName::Site => vec!["--listen".to_owned(), site],
            RoleName::Producer => {
                let mut more = vec!["--site".to_owned(), format!("http://{site}")];
                if first && self.victim == Some(RoleName::Producer) {
                    more.extend(["--halt-after".to_owned(), HALT_AFTER.to_string()]);
                }
                more
            }
            RoleName::Fetcher => vec!["--slots".to_owned(), FETCHES.to_string()],
            RoleName::Parser => Vec::new(),
            RoleName::Saver => {
                vec!["--part".to_owned(), path(&self.part), "--out".to_owned(), path(&self.out)]
            }
        }
    }

    /// Hears one piece of news.
    async fn hear_next(&mut self) -> anyhow::Result<()> {
        match self.news.recv().await {
            Some(News::Told(index, event)) => {
                self.board.note(index, event);
                self.progress.show(&self.board);
                Ok(())
            }
            Some(News::Ended(index, status)) => self.ended(index, status?),
            None => bail!("no more news from the processes"),
        }
    }

    /// A process ended: well, by a signal, or by an error that it has told on standard error.
    fn ended(&mut self, index: usize, status: ExitStatus) -> anyhow::Result<()> {
        use std::os::unix::process::ExitStatusExt;
        let closing = self.alive.remove(&index).is_some_and(|stdin| stdin.is_none());
        let Process { role, pid, .. } = self.board.processes[index];
        let Some(signal) = status.signal() else {
            let done = closing || status.success();
            self.board.end(index, if done { "done".to_owned() } else { status.to_string() });
            if done {
                return Ok(());
            }
            bail!("{role} {pid} failed ({status}); its reason is above");
        };
        let name =
            if signal == Signal::KILL.as_raw() { "SIGKILL".to_owned() } else { format!("signal {signal}") };
        self.board.end(index, name.clone());
        let ours = self.board.killed.as_ref().is_some_and(|killed| killed.process == index);
        if closing || (ours && role == RoleName::Fetcher) {
            // The other fetcher is replacement enough.
            return Ok(());
        }
        self.progress.say(&format!("{role} {pid} ended by {name}; started again"));
        if self.starts.get(&role).copied().unwrap_or(0) > RESTARTS {
            bail!("the {role} was started again {RESTARTS} times");
        }
        self.start(role)
    }

    /// Kills the victim as soon as one is at work.
    async fn kill_when_due(&mut self) -> anyhow::Result<()> {
        let Some(role) = self.victim.filter(|_| self.board.killed.is_none()) else { return Ok(()) };
        let Some(index) = self.at_work(role) else { return Ok(()) };
        if !self.kill_delay.is_zero() {
            let delay = std::mem::take(&mut self.kill_delay);
            self.listen_for(delay).await?;
        }
        if !self.alive.contains_key(&index) {
            return Ok(());
        }
        // Stopped first, so that what it is running is known exactly when it is killed.
        let pid = self.board.processes[index].pid;
        stop(pid)?;
        self.listen_for(LAST_WORDS).await?;
        if self.at_work(role) != Some(index) {
            signal(pid, Signal::CONT)?;
            return Ok(());
        }
        self.board.kill(index);
        signal(pid, Signal::KILL)?;
        let running = self.board.processes[index].running.len();
        self.progress.say(&format!("{role} {pid} killed while it was running {running} tasks"));
        Ok(())
    }

    /// A process of the role that does what is to be interrupted.
    fn at_work(&self, role: RoleName) -> Option<usize> {
        let alive = || self.alive.keys().map(|index| (*index, &self.board.processes[*index]));
        let fetching =
            || alive().find(|(_, one)| one.role == RoleName::Fetcher && one.running.len() >= verdict::HELD);
        let found = match role {
            RoleName::Fetcher => fetching(),
            // The site tells nothing of its own, but it works when somebody fetches.
            RoleName::Site => fetching().and_then(|_| alive().find(|(_, one)| one.role == role)),
            RoleName::Producer => alive().find(|(_, one)| one.role == role && one.tasks >= HALT_AFTER),
            RoleName::Parser | RoleName::Saver => alive().find(|(_, one)| one.role == role && one.tasks > 0),
        };
        found.map(|(index, _)| index)
    }

    /// Hears news for a while.
    async fn listen_for(&mut self, time: Duration) -> anyhow::Result<()> {
        self.listen_while(time, |_| true).await
    }

    /// Hears news for a while, or until something holds no more.
    async fn listen_while(&mut self, time: Duration, holds: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let until = tokio::time::Instant::now() + time;
        while holds(self) {
            match tokio::time::timeout_at(until, self.hear_next()).await {
                Ok(heard) => heard?,
                Err(_) => break,
            }
        }
        Ok(())
    }
}
