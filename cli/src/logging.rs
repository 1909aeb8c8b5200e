//! Logging: to standard error, in lines.

use tracing_subscriber::{EnvFilter, fmt};

use crate::{LogArgs, on_terminal};

/// Starts logging. Does nothing if the program started it already.
pub fn start(args: &LogArgs) {
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
        .with_env_filter(EnvFilter::new(format!("{level},handler={children},lapin={client}")))
        .with_writer(std::io::stderr)
        .with_ansi(args.color.wanted(on_terminal()))
        .with_target(false)
        .try_init();
}
