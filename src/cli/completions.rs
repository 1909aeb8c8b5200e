//! `manyhands completions` and `manyhands man`: what shells and `man` know of the commands, made from the commands themselves.

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap_complete::Shell;
use manyhands::{Error, ErrorKind, Result};
use manyhands_worker::entry::{report, success};

/// Prints what a shell needs to complete the commands
///
/// For bash, for this session: source <(manyhands completions bash)
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

/// Prints the man page, or writes one for each command into a folder
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// The folder, which must be there: manyhands.1, manyhands-send.1 and so on
    folder: Option<PathBuf>,
}

pub(super) fn run(args: &Args, mut command: clap::Command) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "manyhands", &mut script);
    end(print("completions", &script))
}

pub(super) fn man(args: &ManArgs, command: clap::Command) -> ExitCode {
    let failed = |e| Error::new(ErrorKind::Internal, "man", "the man pages cannot be written").because(e);
    end(match &args.folder {
        Some(folder) => clap_mangen::generate_to(command, folder).map_err(failed),
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command)
                .render(&mut page)
                .map_err(failed)
                .and_then(|()| print("man", &page))
        }
    })
}

fn print(operation: &'static str, text: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        // Whoever reads has enough.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|e| {
            Error::new(ErrorKind::Internal, operation, "the answer cannot be printed").because(e)
        }),
    }
}

fn end(written: Result<()>) -> ExitCode {
    match written {
        Ok(()) => success(),
        Err(error) => report(&error, None),
    }
}
