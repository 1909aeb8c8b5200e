//! The benchmark runs, all cases of it. What it measures is judged by nobody here.

#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

use std::{collections::BTreeSet, path::Path, process::Command};

use serde_json::Value;

/// Runs all cases of a broker for a moment, and returns the names of those that told figures.
fn quick(broker: &str) -> BTreeSet<String> {
    let program = Path::new(env!("CARGO_BIN_EXE_manyhands-bench"));
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut command = Command::new(program);
    command.args([broker, "--quick", "--json", "--folder"]).arg(folder.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    let rows: Vec<Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    for row in &rows {
        assert!(row["ours"]["median"].is_f64(), "{row}");
        assert!(row["target"].is_string(), "{row}");
    }
    let left: Vec<_> = folder.path().read_dir().unwrap().collect();
    assert!(left.is_empty(), "it leaves nothing behind: {left:?}");
    rows.iter().filter_map(|row| row["case"].as_str()).map(str::to_owned).collect()
}

#[test]
fn every_case_of_local_has_figures() {
    let all = ["backlog", "both", "crowd", "drain", "enqueue", "idle", "kills", "latency", "senders"];
    assert_eq!(quick("local"), all.map(str::to_owned).into());
}

#[test]
fn every_case_of_children_has_figures() {
    let all = ["burst", "killed", "poison", "process", "supervisor", "waiting", "warm"];
    assert_eq!(quick("children"), all.map(str::to_owned).into());
}

#[test]
fn every_case_of_pool_has_figures() {
    let all = ["apply", "imap", "killed", "left", "map", "workers"];
    assert_eq!(quick("pool"), all.map(str::to_owned).into());
}

#[test]
fn every_case_of_redis_has_figures() {
    let all = ["big", "both", "drain", "enqueue", "latency", "memory", "restart", "result"];
    assert_eq!(quick("redis"), all.map(str::to_owned).into());
}

#[test]
fn every_case_of_rabbitmq_has_figures() {
    let all = ["both", "delays", "drain", "enqueue", "latency", "restart"];
    assert_eq!(quick("rabbitmq"), all.map(str::to_owned).into());
}
