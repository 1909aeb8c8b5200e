//! From our own program to the handler's: what must be settled before that begins.

use std::{
    ffi::OsString,
    io::{ErrorKind, Write},
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

/// The exit code where a program is not there, and where it cannot be run: as a shell has them.
const MISSING: u8 = 127;
const NOT_RUNNABLE: u8 = 126;

/// Becomes the program of the arguments: the parent's pid, the program, its arguments. Returns only if it cannot.
pub(super) fn enter(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let parent = args.next().and_then(|pid| pid.into_string().ok()?.parse::<i32>().ok());
    let Some(program) = args.next() else { return ExitCode::FAILURE };
    if !tied_to(parent) || !let_in() {
        // The worker died before it could say anything.
        return ExitCode::FAILURE;
    }
    let error = Command::new(&program).args(args).exec();
    let _ = writeln!(std::io::stderr(), "cannot run {}: {error}", program.to_string_lossy());
    ExitCode::from(if error.kind() == ErrorKind::NotFound { MISSING } else { NOT_RUNNABLE })
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
