//! Workers that are killed or come too late, and a front that is told to end.

use manyhands_test_support::{
    kill::Signal,
    servers::{RabbitMq, Redis},
};
use serde_json::json;
use tokio::task::JoinSet;

use crate::scene::{Scene, all_end, watch};

const SLOTS: usize = 4;

/// Each of two workers has four commands that have written half of their output when one of the two is killed. All callers get a whole
/// answer, and so do those whose calls wait.
async fn a_worker_is_killed(url: &str) {
    let scene = Scene::new(url, "--deadline-ms 60000").await;
    let args = format!("--slots {SLOTS} --lease-ms 1000");
    let (victim, _other) = (scene.worker(&args), scene.worker(&args));
    let mut callers = JoinSet::new();
    let mut call = async |command: &str, last: usize| {
        let request = if command == "gated" {
            json!({ "command": command })
        } else {
            json!({ "command": command, "args": ["1", last.to_string()] })
        };
        let mut caller = scene.connect().await;
        callers.spawn(async move { (last, caller.ask(request).await) });
    };
    for _ in 0..2 * SLOTS {
        call("gated", 200_000).await;
    }
    let begun = scene.begun(2 * SLOTS).await;
    for number in 1..=50 {
        call("seq", number * 4000).await;
    }
    let of_victim = begun.iter().filter(|[_, worker]| *worker == victim.pid()).map(|[command, _]| *command);
    let processes = watch(of_victim);
    assert_eq!(processes.len(), SLOTS);
    victim.signal(Signal::KILL);
    assert_eq!(victim.end(), None, "killed");
    all_end(&processes);
    scene.open_the_gate();
    let (mut again, mut answered) = (0, 0);
    while let Some(answer) = callers.join_next().await {
        let (last, reply) = answer.unwrap();
        again += usize::from(reply.counts_to(last) > 1);
        answered += 1;
    }
    assert_eq!((answered, again), (2 * SLOTS + 50, SLOTS), "those of the victim alone were begun again");
    scene.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_killed_over_local() {
    let store = tempfile::tempdir().unwrap();
    a_worker_is_killed(&format!("local:{}", store.path().display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_killed_over_redis() {
    let redis = Redis::start().unwrap();
    a_worker_is_killed(&redis.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_killed_over_rabbitmq() {
    a_worker_is_killed(&RabbitMq::shared_url().unwrap()).await;
}

/// Nobody works, and when somebody does, nobody waits any more: nothing is run.
async fn the_deadline_is_over_before_a_worker_comes(url: &str) {
    let scene = Scene::new(url, "").await;
    let mut caller = scene.connect().await;
    let reply = caller.ask(json!({ "command": "gated", "deadline_ms": 200 })).await;
    assert_eq!(reply.why("late"), "it was not done within 200 ms");
    let _worker = scene.worker("");
    assert_eq!(caller.ask(json!({ "command": "seq", "args": ["3"] })).await.counts_to(3), 1);
    scene.ends_clean().await;
    scene.nothing_has_begun();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_over_is_not_run_over_local() {
    let store = tempfile::tempdir().unwrap();
    the_deadline_is_over_before_a_worker_comes(&format!("local:{}", store.path().display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_over_is_not_run_over_rabbitmq() {
    the_deadline_is_over_before_a_worker_comes(&RabbitMq::shared_url().unwrap()).await;
}

/// Told to end, front and worker do first what is under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_loses_nothing() {
    let (scene, _store) = Scene::local("").await;
    let worker = scene.worker("");
    let (mut caller, mut idle) = (scene.connect().await, scene.connect().await);
    assert_eq!(idle.ask(json!({ "command": "seq", "args": ["3"] })).await.counts_to(3), 1);
    caller.say(json!({ "command": "gated" }).to_string()).await;
    scene.begun(1).await;
    worker.signal(Signal::TERM);
    scene.front.signal(Signal::TERM);
    idle.is_closed().await;
    scene.open_the_gate();
    assert_eq!(caller.reply().await.counts_to(200_000), 1);
    caller.is_closed().await;
    assert_eq!((scene.front.end(), worker.end()), (Some(0), Some(0)));
}
