//! From our own program to the handler's: what must be settled before that begins.

use std::{
    ffi::OsString,
    io::{ErrorKind, Write},
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use manyhands_broker::TaskName;

use super::Limits;

/// Before the words of a program that the child becomes.
pub(super) const PROGRAM: &str = "program";

/// Before the name of tasks whose handler is in our own program, and the arguments of that.
pub(super) const OWN: &str = "own";

/// Our own program, to do what it is told over its standard input.
pub(super) const AGAIN: &str = "again";

/// The exit code where a program is not there, and where it cannot be run: as a shell has them.
const MISSING: u8 = 127;
const NOT_RUNNABLE: u8 = 126;

/// What becomes of a child.
#[derive(Debug)]
pub(super) enum Stage {
    /// It ends.
    Over(ExitCode),
    /// It runs the handler of these tasks.
    Own(TaskName),
    /// It does what it is told.
    Again,
}

/// Becomes the program of the arguments, or prepares this one for its handler: the parent's pid, the limits, then what it is to be. What
/// is left of the arguments is our own program's.
pub(super) fn enter(args: &mut impl Iterator<Item = OsString>) -> Stage {
    let failed = |why: &str| {
        let _ = writeln!(std::io::stderr(), "{why}");
        Stage::Over(ExitCode::FAILURE)
    };
    let mut text = || args.next().and_then(|arg| arg.into_string().ok());
    let parent = text().and_then(|pid| pid.parse::<i32>().ok());
    let Some(limits) = text().and_then(|limits| Limits::read(&limits)) else {
        return failed("it is not started by a worker of its own version");
    };
    let kind = text();
    if !tied_to(parent) || !let_in() {
        // The worker died before it could say anything.
        return Stage::Over(ExitCode::FAILURE);
    }
    if let Err(error) = limits.apply() {
        return failed(&format!("its limits cannot be set: {error}"));
    }
    if kind.as_deref() == Some(AGAIN) {
        return Stage::Again;
    }
    let Some(what) = args.next() else { return failed("there is nothing to be run") };
    if kind.as_deref() == Some(OWN) {
        return match what.to_str().map(TaskName::new) {
            Some(Ok(name)) => Stage::Own(name),
            _ => failed("there is no task of that name"),
        };
    }
    let error = Command::new(&what).args(args).exec();
    let _ = writeln!(std::io::stderr(), "cannot run {}: {error}", what.to_string_lossy());
    Stage::Over(ExitCode::from(if error.kind() == ErrorKind::NotFound { MISSING } else { NOT_RUNNABLE }))
}

/// Asks for SIGKILL at the parent's death; false if it died before that.
fn tied_to(parent: Option<i32>) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        if set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
            return false;
        }
        getppid().map(|pid| pid.as_raw_nonzero().get()) == parent
    }
    #[cfg(not(target_os = "linux"))]
    {
        parent.is_some()
    }
}

/// Waits for the byte that says that the guard knows of this process; false if none comes. Unbuffered: what follows is for
/// the program.
fn let_in() -> bool {
    loop {
        match rustix::io::read(std::io::stdin(), &mut [0]) {
            Ok(read) => return read == 1,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}
