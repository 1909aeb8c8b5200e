//! Logging: to standard error, in lines.

use std::fmt::Result;

use tracing_subscriber::{
    EnvFilter, fmt,
    fmt::{
        format::Writer,
        time::{FormatTime, SystemTime},
    },
};

use crate::{LogArgs, on_terminal};

/// Starts logging. Does nothing if the program started it already.
pub fn start(args: &LogArgs) {
    start_as(args, None);
}

/// As [`start`], each line with the pid: for one of several processes that write to one place.
pub fn start_with_pid(args: &LogArgs) {
    start_as(args, Some(std::process::id()));
}

fn start_as(args: &LogArgs, pid: Option<u32>) {
    let level = match (args.quiet, args.verbose) {
        (true, _) => "error",
        (_, 0) => "warn",
        (_, 1) => "info",
        (_, _) => "debug",
    };
    // What goes wrong there comes back as our own errors, and some of it is only a look at what is not there yet.
    let client = if args.verbose > 1 { "info" } else { "off" };
    // What handlers in processes of their own write to their standard error is their log: shown unless less is wanted.
    let children = if args.quiet { "error" } else { "info" };
    let _ = fmt()
        .with_timer(Stamp { time: SystemTime, pid })
        .with_env_filter(EnvFilter::new(format!("{level},handler={children},lapin={client}")))
        .with_writer(std::io::stderr)
        .with_ansi(args.color.wanted(on_terminal()))
        .with_target(false)
        .try_init();
}

/// What a line begins with.
struct Stamp {
    time: SystemTime,
    pid: Option<u32>,
}

impl FormatTime for Stamp {
    fn format_time(&self, to: &mut Writer<'_>) -> Result {
        self.time.format_time(to)?;
        self.pid.map_or(Ok(()), |pid| write!(to, " [{pid}]"))
    }
}
