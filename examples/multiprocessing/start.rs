//! Two processes: one runs a function, the other a value of a type with `run`.
//!
//! ```sh
//! cargo run --example process_start
//! ```

#![allow(clippy::print_stdout, reason = "it is a program, and shows what happens")]

use std::process::ExitCode;

use manyhands::multiprocessing::{self, Process, Run, current_process};
use serde::{Deserialize, Serialize};

fn greet(name: String) {
    let me = current_process().expect("it is a process of this program");
    let parent = me.parent.expect("it was started by this program");
    println!("{}: hello, {name}; my pid is {}, my parent's {parent}", me.name, me.pid);
}

#[derive(Deserialize, Serialize)]
struct Greeter {
    name: String,
}

impl Run for Greeter {
    fn run(self) {
        greet(self.name);
    }
}

fn run() -> Result<(), manyhands::Error> {
    println!("main: my pid is {}", std::process::id());
    // Arguments are a tuple, as Python's `args=("Ada",)`.
    let first = Process::new(greet, ("Ada".to_owned(),))?;
    let second = Process::of(Greeter { name: "Grace".to_owned() })?.named("greeter");
    first.start()?;
    second.start()?;
    println!("main: started {:?} and {:?}", first.pid(), second.pid());
    first.join()?;
    second.join()?;
    println!("main: both have ended");
    Ok(())
}

// Python's `if __name__ == '__main__'`: what is registered can be found by the processes, which do not call `run`.
fn main() -> ExitCode {
    multiprocessing::main(|app| app.function(greet).runs::<Greeter>(), run)
}
