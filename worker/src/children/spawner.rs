//! The one thread that starts children, and the last to hear of them.

use std::{
    ffi::OsString,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, OnceLock, mpsc},
    thread,
};

use manyhands_broker::TaskName;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::oneshot;
use wait4::Wait4;

use super::{FLAG, Limits, STAGE, exit::Exit, guard::Guard, own_program, process::Process, stage};

/// What is to be started.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) start: Start,
    /// Where it runs; empty for where the worker does.
    pub(super) folder: PathBuf,
    pub(super) env: Vec<(&'static str, String)>,
    pub(super) limits: Limits,
}

/// What a child becomes.
#[derive(Clone, Debug)]
pub(crate) enum Start {
    /// This program, with its arguments.
    Program(Vec<OsString>),
    /// Our own program, to run the handler of tasks of this name.
    Own(TaskName),
}

/// Starts children. Clones share the thread, which ends with the last of them.
#[derive(Clone, Debug)]
pub(super) struct Spawner {
    requests: Arc<OnceLock<mpsc::Sender<Request>>>,
    /// The arguments of our own program, for a child that is to run one of its handlers.
    args: Arc<[OsString]>,
}

#[derive(Debug)]
enum Request {
    Start(Plan, oneshot::Sender<io::Result<Child>>),
    /// A child that has ended, or is killed now: it is waited for, and so its number is given up, only after the guard has
    /// forgotten it.
    Reap(Child, Option<oneshot::Sender<io::Result<Exit>>>),
}

impl Spawner {
    pub(super) fn new(args: Vec<OsString>) -> Self {
        Self { requests: Arc::default(), args: args.into() }
    }

    /// Starts a child.
    ///
    /// # Cancel safety
    /// A child that nobody waits for any more is killed.
    pub(super) async fn start(&self, plan: Plan) -> io::Result<Process> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Start(plan, reply))?;
        let child = answer.await.map_err(|_| gone())??;
        Process::new(child, self.clone())
    }

    /// Waits for a child whose group is dead, or about to be; tells how it ended.
    pub(super) async fn reap(&self, child: Child) -> io::Result<Exit> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Reap(child, Some(reply)))?;
        answer.await.map_err(|_| gone())?
    }

    /// As [`Spawner::reap`], for nobody.
    pub(super) fn forget(&self, child: Child) {
        // Without the thread, the guard does it.
        let _ = self.ask(Request::Reap(child, None));
    }

    fn ask(&self, request: Request) -> io::Result<()> {
        let sender = match self.requests.get() {
            Some(sender) => sender,
            None => {
                let (sender, requests) = mpsc::channel();
                // Should two begin at once, the thread of one has nothing to do, and ends.
                let args = Arc::clone(&self.args);
                thread::Builder::new().name("children".to_owned()).spawn(move || serve(&requests, &args))?;
                self.requests.get_or_init(|| sender)
            }
        };
        sender.send(request).map_err(|_| gone())
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that starts children has ended")
}

fn serve(requests: &mpsc::Receiver<Request>, args: &[OsString]) {
    let mut guard = Guard::default();
    while let Ok(request) = requests.recv() {
        match request {
            Request::Start(plan, reply) => {
                if let Err(Ok(child)) = reply.send(start(&plan, args, &mut guard)) {
                    // Nobody waits for it any more.
                    let _ = reap(child, &mut guard);
                }
            }
            Request::Reap(child, reply) => {
                let status = reap(child, &mut guard);
                if let Some(reply) = reply {
                    let _ = reply.send(status);
                }
            }
        }
    }
}

fn start(plan: &Plan, args: &[OsString], guard: &mut Guard) -> io::Result<Child> {
    let mut command = Command::new(own_program()?);
    let parent = std::process::id().to_string();
    command.args([FLAG, STAGE, &parent, &plan.limits.argument()]).process_group(0);
    match &plan.start {
        Start::Program(words) => command.arg(stage::PROGRAM).args(words),
        Start::Own(name) => command.args([stage::OWN, name.as_str()]).args(args),
    };
    command.envs(plan.env.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if !plan.folder.as_os_str().is_empty() {
        command.current_dir(&plan.folder);
    }
    let mut child = command.spawn()?;
    let known = guard.add(child.id());
    let open = known.and_then(|()| match &mut child.stdin {
        Some(stdin) => stdin.write_all(b"\n"),
        None => Err(io::ErrorKind::BrokenPipe.into()),
    });
    match open {
        Ok(()) => Ok(child),
        Err(error) => {
            reap(child, guard)?;
            Err(error)
        }
    }
}

/// Kills the group of a child, and waits for the child.
fn reap(child: Child, guard: &mut Guard) -> io::Result<Exit> {
    // Its number is its own until it is waited for.
    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    guard.remove(child.id());
    let ended = child.wait4()?;
    Ok(Exit { status: ended.status, peak: ended.rusage.maxrss })
}
