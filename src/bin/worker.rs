//! The `worker` program: runs the handlers that the configuration file names.

use std::process::ExitCode;

fn main() -> ExitCode {
    manyhands_worker::main(|app| app)
}
