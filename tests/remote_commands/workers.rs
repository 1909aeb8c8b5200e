//! What the front takes from whom: here the test itself is the workers.

use manyhands_broker::Claim;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::scene::{Caller, PATIENCE, Scene, queue};

/// The task of a call, as a worker gets it.
async fn task(scene: &Scene) -> Value {
    let wait = async {
        loop {
            // Before it is claimed, so that nothing is missed in between.
            let hint = scene.broker.wait(&[queue()]);
            let claimed = scene.broker.claim(&Claim::new(queue(), 1)).await.unwrap();
            if let Some(task) = claimed.tasks.first() {
                return serde_json::from_str(task.payload.as_str()).unwrap();
            }
            hint.await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the task comes")
}

async fn come(scene: &Scene, call: &Value, fence: u64) -> Caller {
    let mut worker = Caller(TcpStream::connect(scene.answers).await.unwrap());
    let hello = json!({ "call": call, "fence": fence, "worker": { "host": "test", "pid": fence } });
    worker.say(hello.to_string()).await;
    worker
}

/// May it begin?
async fn begins(worker: &mut Caller) -> bool {
    let order = worker.head().await;
    assert!(order == "over" || order["go"]["limit_ms"].as_u64().is_some_and(|limit| limit > 0), "{order}");
    order != "over"
}

async fn ends(worker: &mut Caller, stdout: u64) {
    let exited = json!({ "exited": { "exit_code": 0, "signal": null, "stdout": stdout, "stderr": 0 } });
    worker.say(format!(".{exited}")).await;
}

/// Of several workers that have a task, only what the last one says is used, and only if it says all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_not_mixed() {
    let (scene, _store) = Scene::local("").await;
    let mut caller = scene.connect().await;
    caller.say(json!({ "command": "gated" }).to_string()).await;
    let task = task(&scene).await;
    assert_eq!(task["front"], scene.answers.to_string());
    let call = &task["call"];

    let mut guess = come(&scene, &json!("00000000-0000-4000-8000-000000000000"), 1).await;
    assert!(!begins(&mut guess).await, "it does not know the call");

    let mut first = come(&scene, call, 5).await;
    assert!(begins(&mut first).await);
    first.say("ofirst ").await;
    let mut same = come(&scene, call, 5).await;
    assert!(!begins(&mut same).await, "one of two copies of the task is enough");
    let mut older = come(&scene, call, 4).await;
    assert!(!begins(&mut older).await);

    let mut second = come(&scene, call, 6).await;
    assert!(begins(&mut second).await, "the broker gave it to this one");
    second.say("osecond").await;
    first.is_closed().await;
    // It says that there was more than came.
    ends(&mut second, 8).await;
    second.is_closed().await;

    for cut in [&b"\0\0\0\x06othi"[..], b"\0\0\0\x01?", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x02.x"] {
        let mut cut_off = come(&scene, call, 7).await;
        assert!(begins(&mut cut_off).await);
        cut_off.say("opart ").await;
        cut_off.0.write_all(cut).await.unwrap();
        cut_off.0.shutdown().await.unwrap();
        let closed = timeout(PATIENCE, cut_off.0.read(&mut [0])).await.expect("it is closed");
        assert_eq!(closed.unwrap(), 0);
    }

    let mut last = come(&scene, call, 7).await;
    assert!(begins(&mut last).await);
    last.say("owhole").await;
    ends(&mut last, 5).await;
    assert!(!begins(&mut last).await, "it is told that the answer is there");
    let reply = caller.reply().await;
    assert_eq!(reply.stdout, b"whole");
    assert_eq!(
        reply.head,
        json!({ "ran": {
            "exit_code": 0, "stdout": 5, "stderr": 0, "worker": { "host": "test", "pid": 7 }, "runs": 8
        } })
    );
    let mut late = come(&scene, call, 8).await;
    assert!(!begins(&mut late).await, "the call has its answer");
}

/// Both look at the list, each at its own: a worker runs nothing only because it is on the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_has_a_list_of_its_own() {
    let (scene, _store) = Scene::local("").await;
    let _worker = scene.worker_with(None, "");
    let mut caller = scene.connect().await;
    let reply = caller.ask(json!({ "command": "gated" })).await;
    assert_eq!(reply.why("refused"), "there is no command \"gated\" in the list");
    scene.ends_clean().await;
    scene.nothing_has_begun();
}
