//! Connections that are there for one side only: packets are lost in one direction, and nobody is told.

use manyhands_test_support::{hosts::Direction, ledger::now};

use crate::{
    scene::{PRODUCER, Scene},
    server::Kind,
    told::shared,
};

/// Those that work with half a network.
const HALF: [usize; 2] = [0, 1];

/// How many more tasks are done, or begun, before and after.
const SOME: usize = 15;

/// One of two workers hears nothing, and the other is not heard; then it is the other way round. Who sends hears nothing, and then is not heard
/// either.
pub(crate) fn play(kind: Kind) {
    let mut scene = Scene::new(kind);
    scene.start();
    use Direction::{Both, From, To};
    for [first, second, producer] in [[To, From, To], [From, To, Both]] {
        round(&mut scene, [(HALF[0], first), (HALF[1], second), (PRODUCER, producer)]);
    }
    let report = scene.end();
    let pids = HALF.map(|worker| scene.pid(worker));
    for pair in report.doubled.iter().chain(&report.overlapping) {
        let held = pids.contains(&pair.first.pid) || pids.contains(&pair.second.pid);
        assert!(held, "run twice, and held by no host with half a network: {pair}");
    }
}

/// Loses packets until others have what the workers held and a call of who sends has failed; then all go on.
fn round(scene: &mut Scene, halves: [(usize, Direction); 3]) {
    for worker in HALF {
        let begun = scene.told(worker).begun.len();
        scene.until("some work", |scene| scene.told(worker).begun.len() >= begun + SOME);
    }
    let (failed, taken) = (scene.told(PRODUCER).failed, shared(scene.workers()));
    let from = now();
    for (member, direction) in halves {
        scene.host(member).lose(direction).unwrap();
    }
    scene.until("a call that fails", |scene| scene.told(PRODUCER).failed > failed);
    scene.until("tasks that another host takes", |scene| shared(scene.workers()) > taken);
    for (member, direction) in halves {
        let host = scene.host(member);
        assert!(host.heal().unwrap() > 0, "{} lost packets, {direction:?}", host.name());
    }
    let sent = scene.told(PRODUCER).sent;
    scene.until("tasks that are sent again", |scene| scene.told(PRODUCER).sent >= sent + SOME);
    for worker in HALF {
        let begun = scene.told(worker).begun.len();
        scene.until("work when the network is whole", |scene| scene.told(worker).begun.len() >= begun + SOME);
        scene.ledger.fault("half a network", Some(scene.pid(worker)), from).unwrap();
    }
}
