//! Single processes.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::atomic::Ordering,
    time::Duration,
};

use manyhands::{
    ErrorKind,
    multiprocessing::{Process, active_children},
};
use manyhands_test_support::kill::{self, Watch};

use crate::{
    ROLE,
    functions::{
        Greeter, SHARED, abort, add_one, describe, exit_with, have_children, lines, meet, not_registered,
        nothing, refuse, until, wait_for,
    },
    parents::FOLDER,
    programs::{PATIENCE, Place},
};

pub(crate) fn a_function_and_a_value_run_in_processes_of_their_own() {
    let place = Place::new();
    let file = place.path("lines");
    let first = Process::new(describe, (file.clone(),)).unwrap();
    let second = Process::of(Greeter { file: file.clone() }).unwrap().named("greeter").daemon(true);
    assert!(first.pid().is_none() && !first.is_alive() && first.exit_code().is_none());
    let mut expected = Vec::new();
    for (process, daemon) in [(first, false), (second, true)] {
        process.start().unwrap();
        let pid = process.pid().unwrap();
        assert_ne!(pid, std::process::id());
        assert!(process.join().unwrap().success());
        assert!(!process.is_alive());
        assert!(process.name() == "greeter" || process.name().starts_with("Process-"), "{process:?}");
        expected.push(format!("{} {pid} {} {daemon}", process.name(), std::process::id()));
    }
    assert_eq!(lines(&file), expected);
}

pub(crate) fn three_processes_run_at_a_time() {
    // Each returns only when all three are there.
    let place = Place::new();
    let processes: Vec<_> = (0..3).map(|_| Process::new(meet, (place.path(""), 3)).unwrap()).collect();
    for process in &processes {
        process.start().unwrap();
    }
    for process in &processes {
        assert!(process.join().unwrap().success());
    }
}

pub(crate) fn joining_can_be_given_up() {
    let place = Place::new();
    let process = Process::new(wait_for, (1, Some(place.path("go")))).unwrap();
    process.start().unwrap();
    assert_eq!(process.join_timeout(Duration::from_millis(20)).unwrap().map(|exit| exit.code()), None);
    assert!(process.is_alive() && active_children().iter().any(|(pid, _)| Some(*pid) == process.pid()));
    place.write("go", "");
    assert_eq!(process.join_timeout(PATIENCE).unwrap().map(|exit| exit.code()), Some(Some(0)));
    assert!(!active_children().iter().any(|(pid, _)| Some(*pid) == process.pid()));
}

pub(crate) fn a_process_is_asked_to_end_and_killed() {
    let place = Place::new();
    let never = || Process::new(wait_for, (1, Some(place.path("never")))).unwrap();
    for (end, name) in [(Process::terminate as fn(&Process) -> _, "SIGTERM"), (Process::kill, "SIGKILL")] {
        let process = never();
        process.start().unwrap();
        assert!(process.is_alive());
        end(&process).unwrap();
        let exit = process.join().unwrap();
        assert_eq!((exit.code(), exit.signal_name()), (None, Some(name)));
        assert!(exit.to_string().contains(name), "{exit}");
        assert!(!process.is_alive());
        // Whoever has ended cannot be ended again, and nobody else is.
        end(&process).unwrap();
    }
}

pub(crate) fn how_a_process_ended_is_told() {
    let ends = [
        (Process::new(nothing, ()).unwrap(), Some(0), None),
        (Process::new(exit_with, (3,)).unwrap(), Some(3), None),
        (Process::new(refuse, ("a panic that is wanted".to_owned(),)).unwrap(), Some(1), None),
        (Process::new(abort, ()).unwrap(), None, Some("SIGABRT")),
    ];
    for (process, code, signal) in ends {
        process.start().unwrap();
        let exit = process.join().unwrap();
        assert_eq!((exit.code(), exit.signal_name()), (code, signal), "{exit}");
        assert_eq!(process.exit_code().map(|exit| exit.to_string()), Some(exit.to_string()));
    }
}

pub(crate) fn nothing_is_shared() {
    let before = SHARED.load(Ordering::SeqCst);
    let process = Process::new(add_one, ()).unwrap();
    process.start().unwrap();
    assert!(process.join().unwrap().success());
    assert_eq!(SHARED.load(Ordering::SeqCst), before);
}

pub(crate) fn a_process_has_processes_and_a_daemon_has_none() {
    let place = Place::new();
    let (may, may_not) = (place.path("may"), place.path("may-not"));
    let process = Process::new(have_children, (may.clone(),)).unwrap();
    let daemon = Process::new(have_children, (may_not.clone(),)).unwrap().daemon(true);
    process.start().unwrap();
    daemon.start().unwrap();
    assert!(process.join().unwrap().success() && daemon.join().unwrap().success());
    let done = lines(&may);
    assert_eq!(done.len(), 3, "{done:?}");
    assert!(done[0].ends_with(&format!(" {} false", process.pid().unwrap())), "its parent: {done:?}");
    assert_eq!(done[1..], ["process: exit code 0", "pool: Ok(9)"]);
    let refused = lines(&may_not);
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(
        refused.iter().all(|line| line.contains("refused: a daemon may not have processes")),
        "{refused:?}"
    );
}

pub(crate) fn a_thousand_short_processes_leave_no_zombie() {
    let count = if std::env::var_os("MANYHANDS_TEST_LONG").is_some() { 1000 } else { 100 };
    for _ in 0..count / 10 {
        let processes: Vec<_> = (0..10).map(|_| Process::new(nothing, ()).unwrap()).collect();
        processes.iter().for_each(|process| process.start().unwrap());
        // Every other one is forgotten instead of being joined.
        processes.iter().step_by(2).for_each(|process| assert!(process.join().unwrap().success()));
    }
    until(|| active_children().is_empty());
    let zombies: Vec<_> = kill::descendants(std::process::id())
        .into_iter()
        .filter(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
        })
        .collect();
    assert!(zombies.is_empty(), "{zombies:?}");
}

pub(crate) fn what_is_wrong_is_told_before_anything_starts() {
    let error = Process::new(not_registered, (1,)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.report().contains("not_registered is not registered"), "{}", error.report());
    assert!(error.advice().unwrap().contains("app.function(not_registered)"), "{:?}", error.advice());

    let process = Process::new(nothing, ()).unwrap();
    for error in [process.join().unwrap_err(), process.terminate().unwrap_err(), process.kill().unwrap_err()]
    {
        assert!(error.report().contains("was not started"), "{}", error.report());
    }
    process.start().unwrap();
    let error = process.start().unwrap_err();
    assert!(error.report().contains("was started before"), "{}", error.report());
    process.join().unwrap();

    let error = Process::new(|| 3, ()).unwrap_err();
    assert!(error.report().contains("no path of its own"), "{}", error.report());
}

/// Starts a parent, which tells the pids of its children.
fn parent(place: &Place, role: &str) -> (Child, Vec<u32>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, role).env(FOLDER, place.path("")).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pids: Vec<u32> = line.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert!(!pids.is_empty(), "the parent says {line:?}");
    (child, pids)
}

pub(crate) fn a_parent_that_returns_waits_for_all_but_daemons() {
    let place = Place::new();
    let (mut parent, pids) = parent(&place, "returns");
    assert!(parent.wait().unwrap().success());
    let described = lines(&place.path("described"));
    assert!(described.len() == 1 && described[0].starts_with("late "), "{described:?}");
    assert!(Watch::open(pids[0]).is_err(), "the daemon lives");
}

pub(crate) fn a_parent_that_is_killed_leaves_nobody() {
    let place = Place::new();
    let (mut parent, pids) = parent(&place, "is killed");
    assert_eq!(pids.len(), 4);
    let watches: Vec<_> = pids.iter().map(|pid| Watch::open(*pid).unwrap()).collect();
    kill::kill(parent.id()).unwrap();
    parent.wait().unwrap();
    for (watch, pid) in watches.iter().zip(pids) {
        watch.end(PATIENCE).unwrap_or_else(|e| panic!("process {pid} lives: {e}"));
    }
}
