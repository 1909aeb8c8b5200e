//! The one thread that starts children, and the last to hear of them.

use std::{
    ffi::OsString,
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, OnceLock, mpsc},
    thread,
};

use manyhands_broker::TaskName;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::oneshot;
use wait4::Wait4;

use super::{
    FLAG, Limits, STAGE, SUPERVISOR, exit::Exit, guard::Guard, own_program, process::Process, stage,
};

/// What is to be started.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) start: Start,
    /// Where it runs; empty for where the worker does.
    pub(crate) folder: PathBuf,
    pub(crate) env: Vec<(&'static str, String)>,
    pub(crate) limits: Limits,
}

/// What a child becomes.
#[derive(Clone, Debug)]
pub(crate) enum Start {
    /// This program, with its arguments.
    Program(Vec<OsString>),
    /// Our own program, to run the handler of tasks of this name.
    Own(TaskName),
    /// Our own program, to do what it is told over its standard input.
    Again,
}

/// A socket that a child has in the place of its standard input. Its standard output and error are then those of this process.
#[derive(Debug)]
pub struct Socket {
    /// This side's end: a copy, over which the child is let in.
    pub ours: UnixStream,
    /// The child's end.
    pub theirs: UnixStream,
}

/// Starts children. Clones share the thread, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct Spawner {
    requests: Arc<OnceLock<mpsc::Sender<Request>>>,
    /// The arguments of our own program, for a child that is to run one of its handlers.
    args: Arc<[OsString]>,
}

#[derive(Debug)]
enum Request {
    Start(Plan, Option<Socket>, oneshot::Sender<io::Result<Child>>),
    /// A child that has ended, or is killed now: it is waited for, and so its number is given up, only after the guard has
    /// forgotten it.
    Reap(Child, Option<oneshot::Sender<io::Result<Exit>>>),
    /// Those that others left behind, which are this process's now.
    ReapOrphans,
}

impl Spawner {
    /// `args` are those of our own program, for a child that is to run one of its handlers.
    #[must_use]
    pub fn new(args: Vec<OsString>) -> Self {
        Self { requests: Arc::default(), args: args.into() }
    }

    /// Starts a child.
    ///
    /// # Cancel safety
    /// A child that nobody waits for any more is killed.
    pub(super) async fn start(&self, plan: Plan) -> io::Result<Process> {
        self.start_with(plan, None).await
    }

    /// Starts a child that has a socket instead of pipes.
    ///
    /// # Cancel safety
    /// A child that nobody waits for any more is killed.
    pub(crate) async fn start_on(&self, socket: Socket, plan: Plan) -> io::Result<Process> {
        self.start_with(plan, Some(socket)).await
    }

    async fn start_with(&self, plan: Plan, socket: Option<Socket>) -> io::Result<Process> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Start(plan, socket, reply))?;
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

    /// Asks for the status of every child that has ended and was not started here: one whose own parent died before it.
    pub(crate) fn reap_orphans(&self) {
        // Without the thread nobody is left who could.
        let _ = self.ask(Request::ReapOrphans);
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
            Request::Start(plan, socket, reply) => {
                if let Err(Ok(child)) = reply.send(start(&plan, socket, args, &mut guard)) {
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
            Request::ReapOrphans => guard.reap_orphans(),
        }
    }
}

fn start(plan: &Plan, socket: Option<Socket>, args: &[OsString], guard: &mut Guard) -> io::Result<Child> {
    let mut command = Command::new(own_program()?);
    let parent = std::process::id().to_string();
    command.args([FLAG, STAGE, &parent, &plan.limits.argument()]).process_group(0);
    match &plan.start {
        Start::Program(words) => command.arg(stage::PROGRAM).args(words),
        Start::Own(name) => command.args([stage::OWN, name.as_str()]).args(args),
        Start::Again => command.arg(stage::AGAIN),
    };
    // What a supervisor told this process is not for the handlers.
    command.env_remove(SUPERVISOR).envs(plan.env.iter().map(|(name, value)| (name, value)));
    let ours = socket.map(|Socket { ours, theirs }| {
        command.stdin(OwnedFd::from(theirs));
        ours
    });
    if ours.is_none() {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    if !plan.folder.as_os_str().is_empty() {
        command.current_dir(&plan.folder);
    }
    let mut child = command.spawn()?;
    let known = guard.add(child.id());
    let open = known.and_then(|()| match (&mut child.stdin, ours) {
        (Some(stdin), _) => stdin.write_all(b"\n"),
        (None, Some(mut ours)) => ours.write_all(b"\n"),
        (None, None) => Err(io::ErrorKind::BrokenPipe.into()),
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
