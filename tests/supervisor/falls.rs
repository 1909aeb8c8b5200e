//! Worker processes that end though nobody told them to.

use manyhands_test_support::kill::{self, Watch};

use super::{
    WAITS, all_ready, linked, parent, processes,
    programs::{PATIENCE, Place, Worker},
    put, supervisor,
};

#[test]
fn one_that_is_killed_is_replaced_and_its_task_is_done() {
    let place = Place::with(WAITS);
    let mut worker = supervisor(&place, 2);
    all_ready(&mut worker, 2);
    let before = processes(&worker);
    place.run("producer", &["send", "waits", "--id", "a", "--keep-result", "1h"]);
    let holder = place.told("holders").trim().parse().unwrap();
    assert!(before.contains(&holder), "{holder} of {before:?}");
    kill::kill(holder).unwrap();
    worker.says(&format!(
        "worker process {holder} ended: killed by signal 9 (SIGKILL), though nobody told it to: another one takes its place"
    ));
    all_ready(&mut worker, 2);
    assert_eq!(processes(&worker).len(), 2);
    place.write("go", "");
    let (code, result, said) = place.run("producer", &["send", "waits", "--id", "a", "--wait", "50s"]);
    assert_eq!((code, result.as_str()), (Some(0), "1\n"), "{said}");
    assert_eq!(worker.stop().0, Some(0));
    place.fsck();
}

/// Whoever lets one drain gets another.
#[test]
fn one_that_drains_for_somebody_else_is_replaced() {
    let place = Place::with(WAITS);
    let mut worker = supervisor(&place, 1);
    all_ready(&mut worker, 1);
    let id = loop {
        if let Some(one) = place.live_workers().first() {
            break one["worker"].as_str().unwrap().to_owned();
        }
    };
    let (code, _, said) = place.run("manyhands", &["workers", "drain", &id, "--wait", "50s"]);
    assert_eq!(code, Some(0), "{said}");
    worker.says("ended: exit code 0, though nobody told it to: another one takes its place");
    all_ready(&mut worker, 1);
    assert_eq!(worker.stop().0, Some(0));
}

/// A program that always dies at its start is started ever more rarely, however many are wanted.
#[test]
fn those_that_die_at_the_start_are_no_storm() {
    let place = Place::with(WAITS);
    let (_, mut command) = linked(&place);
    let mut worker = Worker::start(command.args(["-v", "--processes", "4"]));
    all_ready(&mut worker, 4);
    put(&place, "#!/bin/sh\necho started >>starts\nexit 9\n");
    for pid in processes(&worker) {
        kill::kill(pid).unwrap();
    }
    worker.says("exit code 9, though nobody told it to: another one takes its place, in 1s600ms");
    let (code, said) = worker.stop();
    assert_eq!(code, Some(0), "{said}");
    let fell: Vec<_> = said.lines().filter(|line| line.contains("exit code 9, though")).collect();
    let pauses: Vec<_> = fell.iter().map(|line| line.rsplit_once(", in ").unwrap().1).collect();
    assert!(pauses.starts_with(&["200ms", "400ms", "800ms", "1s600ms"]), "{said}");
    let starts = place.told("starts").lines().count();
    assert!(starts - fell.len() <= 1, "{starts} starts: one at a time\n{said}");
}

/// What a handler leaves behind, and nobody else waits for.
#[test]
fn orphans_are_waited_for() {
    let place = Place::with(
        "[tasks.leaves]\ncommand = [\"sh\", \"-c\", \"setsid sh -c 'echo $$ >orphan; until test -e go; do sleep 0.05; done' & until test -e orphan; do sleep 0.05; done; echo 1\"]\n",
    );
    let mut worker = supervisor(&place, 1);
    all_ready(&mut worker, 1);
    assert_eq!(place.ask("leaves", "1"), (Some(0), "1\n".to_owned()));
    let orphan: u32 = place.told("orphan").trim().parse().unwrap();
    let watch = Watch::open(orphan).unwrap();
    let patience = std::time::Instant::now() + PATIENCE;
    while parent(orphan) != Some(worker.pid()) {
        assert!(std::time::Instant::now() < patience, "{orphan} is of {:?}", parent(orphan));
        std::thread::yield_now();
    }
    place.write("go", "");
    watch.end(PATIENCE).unwrap();
    while parent(orphan).is_some() {
        assert!(std::time::Instant::now() < patience, "nobody waits for {orphan}");
        std::thread::yield_now();
    }
    // The guard, too, when somebody killed it; another one takes its place.
    let guard = || kill::descendants(worker.pid()).into_iter().find(|pid| is_guard_of(*pid, worker.pid()));
    let first = guard().unwrap();
    kill::kill(first).unwrap();
    while guard().is_none_or(|guard| guard == first) || parent(first).is_some() {
        assert!(std::time::Instant::now() < patience, "the guard is not replaced");
        std::thread::yield_now();
    }
    assert_eq!(worker.stop().0, Some(0));
}

fn is_guard_of(pid: u32, supervisor: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.starts_with(b"manyhands-guard") && parent(pid) == Some(supervisor)
}
