//! `worker --processes N`: a supervisor and its worker processes, as processes: what falls is replaced, all are replaced without a gap,
//! and nobody is left when the supervisor ends, however it does.

#![cfg(all(feature = "cli", feature = "local", feature = "rabbitmq", feature = "redis"))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]
#![expect(clippy::print_stdout, reason = "the figures")]

mod autoscale;
mod ended;
mod falls;
mod killed;
#[path = "../programs/mod.rs"]
mod programs;
mod replaced;
mod started;

use std::{path::PathBuf, process::Command};

use manyhands_test_support::kill;

use self::programs::{Place, Worker};

/// A task whose handler tells the pid of its worker process, and goes on when the file `go` is there.
const WAITS: &str = r#"
[tasks.waits]
command = ["sh", "-c", "echo $PPID >>holders; until test -e go; do sleep 0.05; done; echo 1"]
"#;

/// A program that says hello as a handler of the tasks named `work`, and answers each with its own argument.
const WARM: &str = r#"
import json, sys
print(json.dumps({"hello": 1, "tasks": ["work"]}), flush=True)
for line in sys.stdin:
    print(json.dumps({"id": json.loads(line)["id"], "result": sys.argv[1]}), flush=True)
"#;

/// A supervisor that says all that it does.
fn supervisor(place: &Place, processes: usize) -> Worker {
    place.worker(&["-v", "--processes", &processes.to_string()])
}

/// Waits until so many are ready.
fn all_ready(supervisor: &mut Worker, processes: usize) {
    supervisor.says(&format!("is ready; {processes} are, and {processes} are wanted"));
}

/// The worker processes of a supervisor that live.
fn processes(supervisor: &Worker) -> Vec<u32> {
    let of_supervisor = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        !line.starts_with(b"manyhands-guard")
            && kill::started(*pid).is_some()
            && parent(*pid) == Some(supervisor.pid())
    };
    kill::descendants(supervisor.pid()).into_iter().filter(of_supervisor).collect()
}

/// The parent of a process.
fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// The pid in a line of the log.
fn pid_in(line: &str) -> u32 {
    let (_, pid) = line.rsplit_once("pid=").unwrap();
    pid.trim().parse().unwrap()
}

/// The worker program under a link of one's own, as deploys have it.
fn linked(place: &Place) -> (PathBuf, Command) {
    let link = place.path("worker");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_worker"), &link).unwrap();
    let mut command = Command::new(&link);
    let plain = place.program("worker");
    command.current_dir(plain.get_current_dir().unwrap());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    (link, command)
}

/// Puts a program in the place of the link, at once.
fn put(place: &Place, script: &str) {
    let new = place.script("new", script);
    std::fs::rename(new, place.path("worker")).unwrap();
}
