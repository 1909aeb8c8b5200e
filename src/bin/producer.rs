//! The `producer` program: `manyhands send`, under the name that hosts start.

use std::process::ExitCode;

fn main() -> ExitCode {
    manyhands_producer::entry::main()
}
