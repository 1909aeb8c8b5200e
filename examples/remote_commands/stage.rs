//! Between a worker and its command: this program, which ties itself to the worker's life and becomes the command. Without it, the command
//! of a worker that is killed would go on, beside the one that another worker begins anew. What the command has started itself is not tied:
//! a worker kills that with the group, unless it is killed.

use std::{
    ffi::OsString,
    io::ErrorKind,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

#[derive(clap::Args)]
pub(crate) struct StageArgs {
    /// Who started it
    worker: i32,
    program: OsString,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Becomes the program. Returns only where that cannot be, with the exit code that a shell has for it.
pub(crate) fn enter(args: &StageArgs) -> ExitCode {
    if !tied_to(args.worker) {
        return ExitCode::FAILURE;
    }
    let error = Command::new(&args.program).args(&args.args).exec();
    eprintln!("cannot run {}: {error}", args.program.display());
    ExitCode::from(if error.kind() == ErrorKind::NotFound { 127 } else { 126 })
}

/// Asks for SIGKILL at the worker's death; false if it died before that.
fn tied_to(worker: i32) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        set_parent_process_death_signal(Some(Signal::KILL)).is_ok()
            && getppid().is_some_and(|pid| pid.as_raw_nonzero().get() == worker)
    }
    #[cfg(not(target_os = "linux"))]
    {
        worker > 0
    }
}
