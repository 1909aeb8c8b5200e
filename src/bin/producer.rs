//! The `producer` program: the commands `send` and `feed` of `manyhands`, under the name that hosts start.

use std::process::ExitCode;

fn main() -> ExitCode {
    manyhands_producer::entry::main()
}
