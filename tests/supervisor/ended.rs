//! A supervisor that is told to end.

use std::{
    fs::{File, OpenOptions},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::Path,
    process::Command,
};

use manyhands::QueueName;
use manyhands_test_support::kill::{self, Signal};
use rustix::{
    process::{Pid, kill_process_group},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

use super::{
    WAITS, WARM, all_ready, processes,
    programs::{Place, Worker, all_end},
    supervisor,
};

/// One task runs in each of two worker processes.
fn busy(place: &Place, worker: &mut Worker) {
    all_ready(worker, 2);
    for id in ["a", "b"] {
        place.run("producer", &["send", "waits", "--id", id, "--keep-result", "1h"]);
    }
    while place.told("holders").lines().count() < 2 {
        std::thread::yield_now();
    }
}

#[test]
fn the_first_signal_drains() {
    // A terminal sends its signals to the whole group that is in front.
    for to_group in [false, true] {
        let place = Place::with(WAITS);
        let mut command = place.program("worker");
        let mut worker = Worker::start(command.args(["-v", "--processes", "2"]).process_group(0));
        busy(&place, &mut worker);
        let family = worker.family();
        if to_group {
            let group = Pid::from_raw(i32::try_from(worker.pid()).unwrap()).unwrap();
            kill_process_group(group, Signal::INT).unwrap();
        } else {
            worker.signal(Signal::TERM);
        }
        while place.live_workers().iter().any(|one| one["draining"] == false) {
            std::thread::yield_now();
        }
        assert_eq!(place.status("default").leased, 2, "what runs goes on");
        place.write("go", "");
        let (code, said) = worker.end();
        assert_eq!(code, Some(0), "{said}");
        let status = place.status("default");
        assert_eq!((status.unsettled(), status.dead), (0, 0), "{said}");
        all_end(family);
    }
}

#[test]
fn the_second_signal_ends_at_once() {
    let place = Place::with(WAITS);
    let mut worker = supervisor(&place, 2);
    busy(&place, &mut worker);
    let family = worker.family();
    worker.signal(Signal::TERM);
    worker.signal(Signal::INT);
    let (code, said) = worker.end();
    assert_eq!(code, Some(130), "{said}");
    all_end(family);
    let status = place.status("default");
    assert_eq!((status.ready, status.unsettled(), status.dead), (2, 2, 0), "given back: {said}");
    let (_, shown, _) = place.run("manyhands", &["tasks", "show", "a", "--json"]);
    let task: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&task["attempts"], &task["crashes"]), (&0.into(), &0.into()), "uncharged: {shown}");
}

#[test]
fn a_grace_that_is_over_gives_tasks_back() {
    let place = Place::with(&format!("[worker]\ngrace = \"300ms\"\n{WAITS}"));
    let mut worker = supervisor(&place, 2);
    busy(&place, &mut worker);
    let (code, said) = worker.stop();
    assert_eq!((code, place.status("default").ready), (Some(0), 2), "{said}");
}

/// One that is not ready: when it has only just been started, and when its handlers are not.
#[test]
fn it_ends_during_the_start() {
    let place = Place::with("[tasks.mute]\nprocess = [\"cat\"]\n");
    for handlers_begin in [false, true] {
        let mut worker = supervisor(&place, 3);
        worker.says("a worker process is started");
        let is_handler = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "cat\n")
        };
        while handlers_begin && !kill::descendants(worker.pid()).iter().any(is_handler) {
            std::thread::yield_now();
        }
        assert_eq!(processes(&worker).len(), 1, "one shows what becomes of all");
        let family = worker.family();
        let (code, said) = worker.stop();
        assert_eq!(code, Some(0), "{said}");
        all_end(family);
    }
}

#[test]
fn it_ends_during_a_replacement() {
    let place = Place::with("[tasks.work]\nprocess = [\"python3\", \"warm.py\", \"1\"]\n");
    place.write("warm.py", WARM);
    let mut worker = supervisor(&place, 2);
    all_ready(&mut worker, 2);
    place.write("manyhands.toml", "[tasks.work]\nprocess = [\"cat\"]\n");
    worker.signal(Signal::HUP);
    worker.says("a worker process is started");
    assert_eq!(processes(&worker).len(), 3);
    let family = worker.family();
    let (code, said) = worker.stop();
    assert_eq!(code, Some(0), "{said}");
    all_end(family);
}

/// All of them end by themselves, and that is the end.
#[test]
fn it_ends_with_its_queues() {
    let place = Place::with("[tasks.quick]\ncommand = [\"true\"]\n");
    let mut worker = place.worker(&["--processes", "3", "--until-ended"]);
    worker.says("3 worker processes");
    place.run("producer", &["send", "quick", "--id", "a"]);
    let queue = QueueName::new("default").unwrap();
    place.look(|broker| async move { broker.close(&queue).await.unwrap() });
    let (code, said) = worker.end();
    assert_eq!((code, said.lines().count()), (Some(0), 1), "{said}");
    assert_eq!(place.status("default").unsettled(), 0);
}

/// A terminal that is closed sends SIGHUP, which there is no order to go on.
#[test]
fn it_ends_with_its_terminal() {
    let place = Place::with(WAITS);
    let side = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&side).unwrap();
    unlockpt(&side).unwrap();
    let name = ptsname(&side, Vec::new()).unwrap();
    let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
    let no_control = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).unwrap();
    let mut open = OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::custom_flags(open.read(true).write(true), no_control);
    let terminal: File = open.open(path).unwrap();
    let plain = place.program("worker");
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait"]).arg(plain.get_program()).args(["-v", "--processes", "2"]);
    command.current_dir(place.path("")).stdin(terminal);
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut worker = Worker::start(&mut command);
    drop(command);
    all_ready(&mut worker, 2);
    let family = worker.family();
    assert!(kill::started(worker.pid()).is_some() && family.len() >= 3);
    drop(side);
    let (code, said) = worker.end();
    assert_eq!(code, Some(0), "{said}");
    all_end(family);
}
