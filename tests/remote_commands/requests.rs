//! Requests that are wrong, callers that go away, and calls that take too long.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::scene::{Scene, all_end, queue, until, watch};

/// Each is told why, and the next one on the same connection is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_in_the_list_is_refused() {
    let (scene, _store) = Scene::local("").await;
    let mut caller = scene.connect().await;
    for (request, why) in [
        (json!({ "command": "rm", "args": ["-rf", "/"] }), "there is no command \"rm\" in the list"),
        (json!({ "command": "seq 1 3" }), "there is no command \"seq 1 3\""),
        (json!({ "command": "sh" }), "there is no command \"sh\""),
        (json!({ "command": "" }), "there is no command \"\""),
        (json!({ "command": "seq", "args": ["--help"] }), "it begins with a dash"),
        (json!({ "command": "seq", "args": ["-1"] }), "it begins with a dash"),
        (json!({ "command": "seq", "args": ["1; reboot"] }), "';' is not allowed in it"),
        (json!({ "command": "seq", "args": ["1\u{0}"] }), "'\\0' is not allowed in it"),
        (json!({ "command": "seq", "args": [""] }), "it is empty"),
        (json!({ "command": "seq", "args": ["1", "2", "3"] }), "seq takes 2 arguments at most, not 3"),
        (json!({ "command": "upper", "args": ["x"] }), "upper takes 0 arguments at most, not 1"),
        (json!({ "command": "seq", "args": ["1"], "input": "x" }), "seq takes no input"),
        (json!({ "command": "seq", "arguments": ["1"] }), "unknown field `arguments`"),
        (json!({ "command": "seq", "args": "1" }), "that is no request: invalid type: string \"1\""),
        (json!({ "args": ["1"] }), "missing field `command`"),
        (json!(7), "that is no request"),
    ] {
        let reply = caller.ask(request.clone()).await;
        assert!(reply.why("refused").contains(why), "{request}: {}", reply.head);
    }
    for garbage in [&b""[..], b"seq 1 3", b"\xff\xfe", b"{\"command\": \"seq\""] {
        caller.say(garbage).await;
        assert!(caller.reply().await.why("refused").contains("that is no request"), "{garbage:?}");
    }
    assert_eq!(scene.broker.status(&queue()).await.unwrap(), None, "nothing of it was queued");
    let _worker = scene.worker("");
    assert_eq!(caller.ask(json!({ "command": "seq", "args": ["7"] })).await.counts_to(7), 1);
}

/// What is no frame is answered, and its connection closed: nobody knows where the next one begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_frame_is_refused() {
    let (scene, _store) = Scene::local("--max-request 1000").await;
    for garbage in [
        [&1001_u32.to_be_bytes()[..], &[b' '; 1001]].concat(),
        b"GET / HTTP/1.1\r\nhost: front\r\n\r\n".to_vec(),
        // More than a connection holds: the front must not wait for it, nor the answer be lost with it.
        vec![0xff; 300_000],
    ] {
        let mut caller = scene.connect().await;
        caller.0.write_all(&garbage).await.unwrap();
        let reply = caller.reply().await;
        assert!(reply.why("refused").contains("1000 bytes at most"), "{}", reply.head);
        caller.is_closed().await;
    }
    for half in [&b"\0"[..], b"\0\0\0\x09", b"\0\0\0\x09{\"comma"] {
        let mut caller = scene.connect().await;
        caller.0.write_all(half).await.unwrap();
        caller.0.shutdown().await.unwrap();
        caller.is_closed().await;
    }
    assert_eq!(scene.broker.status(&queue()).await.unwrap(), None, "nothing of it was queued");
}

/// What a caller asked for is killed when it goes, with all that it has started.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_goes_while_its_command_runs() {
    // No deadline ends it.
    let (scene, _store) = Scene::local("--deadline-ms 600000").await;
    let _worker = scene.worker("");
    let mut caller = scene.connect().await;
    caller.say(json!({ "command": "endless" }).to_string()).await;
    let processes = watch(scene.begun(1).await.concat());
    drop(caller);
    all_end(&processes);
    scene.ends_clean().await;
}

/// The front keeps large output in files, which go with the callers, and holds no worker up for those who do not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_go_in_the_middle_of_the_output() {
    const CALLERS: usize = 8;
    /// By how much the front may grow. The answers have 23 MiB each.
    const FLAT: u64 = 24 << 20;
    let (scene, _store) = Scene::local("").await;
    let worker = scene.worker("--slots 1");
    let large = json!({ "command": "seq", "args": ["1", "3000000"] }).to_string();
    let before = scene.front.memory();
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        let mut caller = scene.connect().await;
        caller.say(&large).await;
        callers.push(caller);
    }
    for caller in &mut callers {
        assert_eq!(caller.head().await["ran"]["stdout"], 22_888_896, "though the others do not read");
        caller.0.read_exact(&mut [0; 100]).await.unwrap();
    }
    scene.ends_clean().await;
    assert_eq!(scene.front.files_without_names(), CALLERS);
    let grown = scene.front.memory().saturating_sub(before);
    assert!(grown < FLAT, "the front grew by {grown} bytes");
    let mut patient = callers.pop().unwrap();
    drop(callers);
    until("the files go", async || (scene.front.files_without_names() == 1).then_some(())).await;
    // Who reads late gets all of it.
    let mut rest = Vec::new();
    (&mut patient.0).take(22_888_896 - 100).read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() == 22_888_796 && rest.ends_with(b"\n2999999\n3000000\n"));
    assert_eq!(patient.ask(json!({ "command": "seq", "args": ["3"] })).await.counts_to(3), 1);
    assert_eq!(scene.front.files_without_names(), 0);
    drop(worker);
}

/// At the deadline the caller is told, and the command is killed with its group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_passes() {
    // Long enough for the command to begin before it; if it does not, the test waits in vain.
    let (scene, _store) = Scene::local("--deadline-ms 3000").await;
    let _worker = scene.worker("");
    let mut caller = scene.connect().await;
    // More than the front allows is not had.
    caller.say(json!({ "command": "endless", "deadline_ms": 1_000_000 }).to_string()).await;
    let processes = watch(scene.begun(1).await.concat());
    let reply = caller.reply().await;
    assert_eq!(reply.why("late"), "it was not done within 3000 ms");
    all_end(&processes);
    scene.ends_clean().await;
    assert_eq!(caller.ask(json!({ "command": "seq", "args": ["3"] })).await.counts_to(3), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_that_is_too_large_is_not_answered() {
    let (scene, _store) = Scene::local("--max-output 100000").await;
    let _worker = scene.worker("");
    let mut caller = scene.connect().await;
    let reply = caller.ask(json!({ "command": "seq", "args": ["1", "99999999"] })).await;
    assert_eq!(reply.why("failed"), "its output is too large: 100000 bytes at most");
    scene.ends_clean().await;
    let missing = caller.ask(json!({ "command": "missing" })).await;
    assert_eq!(missing.head["ran"]["exit_code"], 127, "{}", missing.head);
    let said = String::from_utf8(missing.stderr).unwrap();
    assert!(said.starts_with("cannot run there-is-no-such-program: "), "{said}");
}
