//! All of it on one box: a front, workers and five hundred callers, whose every answer is looked at.

use std::{net::SocketAddr, process::Stdio, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use manyhands::BrokerUrl;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::Barrier,
    task::JoinSet,
    time::timeout,
};

use crate::{
    answer::{Answer, Request},
    caller::Caller,
};

const WORKERS: usize = 3;
const CALLERS: usize = 500;
const IDLE: usize = 500;

/// What so many idle connections may cost the front, in bytes.
const IDLE_COST: u64 = 10 << 20;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(100);

/// Over the broker, or else over one in a folder of its own.
pub(crate) async fn show(broker: Option<&BrokerUrl>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let url = broker.map_or_else(|| format!("local:{}", folder.path().display()), BrokerUrl::expose);
    timeout(PATIENCE, cast(&url)).await.context("it takes too long")?
}

async fn cast(url: &str) -> Result<()> {
    let front = Role::start(url, &["front", "--listen", "127.0.0.1:0", "--deadline-ms", "90000"]).await?;
    let address = front.line.strip_prefix("listening on ").and_then(|line| line.split(',').next());
    let address: SocketAddr =
        address.and_then(|address| address.parse().ok()).context("what the front says")?;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(Role::start(url, &["worker"]).await?);
    }
    let (idle, cost) = idle(&front, address).await?;
    ensure!(cost <= IDLE_COST, "{IDLE} idle connections cost the front {cost} bytes");
    let (answered, refused) = load(address).await?;
    for mut caller in idle {
        let (answer, ..) = caller.ask(&request("no-such-command", &[], None)).await?;
        ensure!(matches!(answer, Answer::Refused(_)), "an idle connection was answered {answer:?}");
    }
    for role in workers.into_iter().chain([front]) {
        role.stop().await?;
    }
    println!("{IDLE} idle connections cost the front {:.2} MiB", cost as f64 / f64::from(1 << 20));
    println!(
        "{CALLERS} callers, {WORKERS} workers: {answered} calls answered, all as they should be, and {refused} refused"
    );
    Ok(())
}

/// Opens connections that say nothing, and tells what they cost the front.
async fn idle(front: &Role, address: SocketAddr) -> Result<(Vec<Caller>, u64)> {
    let request = request("uname", &["-s"], None);
    // What the first call needs is no cost of theirs.
    Caller::connect(address).await?.ask(&request).await?;
    let before = front.memory()?;
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(Caller::connect(address).await?);
    }
    // Connections are taken as they come: one that is answered came after all of them.
    Caller::connect(address).await?.ask(&request).await?;
    Ok((idle, front.memory()?.saturating_sub(before)))
}

/// All callers at a time; returns how many were answered and how many refused.
async fn load(address: SocketAddr) -> Result<(usize, usize)> {
    let system = std::process::Command::new("uname").arg("-s").output()?.stdout;
    let start = Arc::new(Barrier::new(CALLERS));
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let (system, start) = (system.clone(), Arc::clone(&start));
        callers.spawn(async move {
            let caller = Caller::connect(address).await;
            // Whatever became of it: the others wait for this one.
            start.wait().await;
            ask(&mut caller?, number, system).await.with_context(|| format!("caller {number}"))
        });
    }
    let (mut answered, mut refused) = (0, 0);
    while let Some(done) = callers.join_next().await {
        *(if done?? { &mut answered } else { &mut refused }) += 1;
    }
    Ok((answered, refused))
}

/// Makes the call of one number, and looks at its answer; false if it was refused, as it should be.
async fn ask(caller: &mut Caller, number: usize, system: Vec<u8>) -> Result<bool> {
    let count = |last: usize| (1..=last).map(|n| format!("{n}\n")).collect::<String>();
    let (request, expected) = match number % 5 {
        0 => {
            let text = format!("many hands make light work, says number {number}\n").repeat(1 + number);
            (request("upper", &[], Some(&text)), Some(text.to_uppercase().into_bytes()))
        }
        1 => (request("seq", &["1", &number.to_string()], None), Some(count(number).into_bytes())),
        // Larger than the result of a task can be.
        2 if number % 50 == 2 => {
            let last = 300_000 + number;
            (request("seq", &["1", &last.to_string()], None), Some(count(last).into_bytes()))
        }
        2 | 3 => (request("uname", &["-s"], None), Some(system)),
        _ if number.is_multiple_of(2) => (request("rm", &["-rf", "/"], None), None),
        _ => (request("seq", &["1", "--help"], None), None),
    };
    let (answer, stdout, stderr) = caller.ask(&request).await?;
    match (answer, expected) {
        (Answer::Ran(ran), Some(expected)) => {
            ensure!(ran.exit_code == Some(0) && stderr.is_empty(), "{request:?} ended with {ran:?}");
            ensure!(stdout == expected, "{request:?} was answered by other bytes than it should be");
            Ok(true)
        }
        (Answer::Refused(_), None) => Ok(false),
        (answer, _) => bail!("{request:?} was answered {answer:?}"),
    }
}

fn request(command: &str, args: &[&str], input: Option<&str>) -> Request {
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    Request { command: command.to_owned(), args, input: input.map(str::to_owned), deadline_ms: None }
}

/// Another process of this program.
struct Role {
    child: Child,
    /// The first line that it printed.
    line: String,
}

impl Role {
    async fn start(url: &str, args: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        // In its environment, as a URL may have a password, and arguments are shown to all.
        command.args(args).env("MANYHANDS_BROKER", url).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("it has no output")?;
        BufReader::new(stdout).read_line(&mut line).await?;
        ensure!(!line.is_empty(), "{} cannot begin: it says why above", args[0]);
        Ok(Self { child, line: line.trim_end().to_owned() })
    }

    fn pid(&self) -> Result<Pid> {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        pid.context("it has ended")
    }

    /// What it has in memory, in bytes.
    fn memory(&self) -> Result<u64> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.pid()?.as_raw_nonzero()))?;
        let pages: u64 = statm.split(' ').nth(1).context("what statm says")?.parse()?;
        Ok(pages * rustix::param::page_size() as u64)
    }

    /// Lets it end, which it does when its calls are done.
    async fn stop(mut self) -> Result<()> {
        kill_process(self.pid()?, Signal::TERM)?;
        let status = self.child.wait().await?;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }
}
