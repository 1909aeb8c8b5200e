//! Compiles what servers with a faked clock need beside libfaketime. A C compiler is there: `SQLite` needs one, too.

use std::{env, error::Error, path::Path, process::Command};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=malloc.c");
    let library = Path::new(&env::var("OUT_DIR")?).join("malloc.so");
    let status =
        Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(library).arg("malloc.c").status()?;
    if status.success() { Ok(()) } else { Err(format!("malloc.c cannot be compiled ({status})").into()) }
}
