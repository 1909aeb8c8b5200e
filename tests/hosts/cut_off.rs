//! A host that works is cut off, works on, and comes back.

use manyhands_test_support::{hosts::Direction, ledger::now};

use crate::{scene::Scene, server::Kind};

/// The host that is cut off.
const CUT: usize = 0;

/// How many tasks it has begun before, and begins afterwards.
const BEGUN: usize = 15;

/// It finds what it held run by others, and its own settlements refused.
pub(crate) fn play(kind: Kind) {
    let mut scene = Scene::new(kind);
    scene.start();
    scene.until("some work", |scene| scene.told(CUT).begun.len() >= BEGUN);
    // It has just begun: the network is cut before it ends.
    let begun = scene.told(CUT).begun.len();
    scene.until("a long task", |scene| scene.told(CUT).long_since(begun).is_some());
    let from = now();
    scene.host(CUT).lose(Direction::Both).unwrap();
    let held = scene.told(CUT).long_since(begun).unwrap().to_owned();
    scene.until("its work on the long task", |scene| scene.told(CUT).done.contains(&held));
    scene.until("the task on another host", |scene| {
        scene.workers().enumerate().any(|(worker, told)| worker != CUT && told.began(&held))
    });
    assert!(scene.host(CUT).heal().unwrap() > 0, "it lost packets");
    let begun = scene.told(CUT).begun.len();
    scene.until("its work when it is back", |scene| scene.told(CUT).begun.len() >= begun + BEGUN);
    scene.until("that its settlement is refused", |scene| scene.told(CUT).refused.contains(&held));
    scene.ledger.fault("cut off", Some(scene.pid(CUT)), from).unwrap();

    let report = scene.end();
    let pid = scene.pid(CUT);
    let again: Vec<_> = report.doubled.iter().filter(|pair| pair.first.id == held).collect();
    assert!(!again.is_empty(), "who was cut off did the task, and so did another: {report}");
    for pair in report.doubled.iter().chain(&report.overlapping) {
        assert!(
            pair.first.pid == pid || pair.second.pid == pid,
            "run twice, and not held by the lost host: {pair}"
        );
    }
    for (worker, told) in scene.workers().enumerate() {
        assert_eq!(told.refused.is_empty(), worker != CUT, "refused: {:?}", told.refused);
    }
    let log = scene.log(CUT);
    let said = |id: &str| log.lines().any(|line| line.contains("the lease was lost") && line.contains(id));
    assert!(scene.told(CUT).refused.iter().all(|id| said(id)), "its log tells of each: {log}");
}
