//! The `worker` program, with handlers in processes of their own: what they do, and all that they can do wrong.

#![cfg(all(feature = "cli", feature = "local", feature = "rabbitmq", feature = "redis"))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

mod commands;
mod crashes;
mod faults;
#[path = "../programs/mod.rs"]
mod programs;
mod protocol;
mod replaced;
mod warm;

use self::programs::{PATIENCE, Place, all_end, repository};

/// Each program of the documentation is the one that is tested.
#[test]
fn the_documentation_shows_the_examples() {
    let read = |path: &str| std::fs::read_to_string(repository(path)).unwrap();
    for path in ["README.md", "docs/handler-protocol.md"] {
        for example in ["python/resize.py", "python/manyhands.toml", "shell/words.sh", "shell/manyhands.toml"]
        {
            assert!(read(path).contains(&read(&format!("examples/{example}"))), "{path} must show {example}");
        }
    }
}

#[test]
fn the_python_example_works() {
    let place = Place::new();
    let config = repository("examples/python/manyhands.toml");
    let mut worker = place.worker(&["--config", config.to_str().unwrap()]);
    assert_eq!(place.ask("resize", r#"{"width": 640}"#), (Some(0), "{\"width\": 320}\n".to_owned()));
    let (code, why) = place.ask("resize", "{}");
    assert!(code == Some(1) && why.contains("is dead: missing 'width'"), "{why}");
    let (code, why) = place.ask("resize", r#"{"width": "x"}"#);
    assert!(code == Some(1) && why.contains("TypeError"), "{why}");
    let first = worker.says("worker 0.1.0: broker local:");
    assert!(
        first.ends_with("queues default; handlers resize; slots 100 async, 2 blocking, 2 processes"),
        "{first}"
    );
    let family = worker.family();
    assert_eq!(family.len(), 3, "two children and the guard");
    let (code, said) = worker.stop();
    assert_eq!(code, Some(0), "{said}");
    all_end(family);
}

#[test]
fn the_shell_example_works() {
    let place = Place::new();
    let file = place.write("text", "many hands make\nlight work\n");
    let config = repository("examples/shell/manyhands.toml");
    let worker = place.worker(&["--config", config.to_str().unwrap()]);
    let payload = serde_json::json!({ "path": file }).to_string();
    assert_eq!(place.ask("words", &payload), (Some(0), "5\n".to_owned()));
    // As the README shows it: in the folder of the file.
    let shown = place.ask("words", r#"{"path": "words.sh"}"#);
    assert_eq!(shown, (Some(0), "34\n".to_owned()));
    assert!(include_str!("../../README.md").contains("'{\"path\": \"words.sh\"}' --wait 10s         # 34\n"));
    let (code, why) = place.ask("words", r#"{"path": "/no/such/file"}"#);
    assert!(code == Some(1) && why.contains("is dead: exit code 65: no such file: /no/such/file"), "{why}");
    assert_eq!(worker.stop().0, Some(0));
}

#[test]
fn what_is_wrong_is_said_before_anything_is_taken() {
    let cases = [
        ("", "the worker has no handler: manyhands.toml has no [tasks.NAME]"),
        (
            "[tasks.a]\ncommand = [\"no-such-program\"]",
            "manyhands.toml: tasks.a.command: there is no program \"no-such-program\" on PATH",
        ),
        ("[tasks.a]\ncommand = [\"here.sh\"]", "write \"./here.sh\" for the one in the file's folder"),
        ("[tasks.a]\ncommand = [\"./plain\"]", "./plain cannot be run: it is not executable"),
        (
            "[tasks.a]\nprocess = [\"./missing\"]",
            "manyhands.toml: tasks.a.process: there is no program ./missing",
        ),
        ("[tasks.a]\ncommand = [\"echo\", \"{a\"]", "tasks.a.command: \"{a\": after { comes the name"),
        ("[tasks.a]\ncommand = [\"{a}\"]", "tasks.a.command"),
        (
            "[worker]\nconcurrency = 0\n[tasks.a]\ncommand = [\"true\"]",
            "worker.concurrency: 0 is no whole number",
        ),
        ("[worker]\nqueues = \"a,b,a\"\n[tasks.a]\ncommand = [\"true\"]", "\"a\" is named twice"),
        ("[worker]\nqueues = \"\"\n[tasks.a]\ncommand = [\"true\"]", "a queue that has no name"),
        (
            "[worker]\nqueues = \"a:0\"\n[tasks.a]\ncommand = [\"true\"]",
            "manyhands.toml: worker.queues: \"0\" is no weight",
        ),
        (
            "[tasks.a]\ncommand = [\"true\"]\nmax_tasks_per_child = 2",
            "tasks.a.max_tasks_per_child: it needs a process beside it",
        ),
        ("[tasks.a]\ncommnd = [\"true\"]", "manyhands.toml: there is no key tasks.a.commnd"),
    ];
    for (text, why) in cases {
        let place = Place::with(text);
        place.write("plain", "");
        place.script("here.sh", "");
        let (code, out, said) = place.run("worker", &[]);
        assert!(code == Some(2) && out.is_empty() && said.contains(why), "{text:?}: {said}");
    }
    let (code, _, said) = Place::new().run("worker", &[]);
    assert!(code == Some(2) && said.contains("there is no configuration file"), "{said}");
}

/// Each queue gets no more than its handlers have processes for.
#[test]
fn tasks_are_claimed_for_free_processes_only() {
    let place = Place::with(
        "[tasks.slow]\ncommand = [\"sleep\", \"1000\"]\nprocesses = 2\nqueue = \"slow\"\n\
         [tasks.quick]\ncommand = [\"echo\", \"1\"]\nprocesses = 1\n",
    );
    let worker = place.worker(&[]);
    for _ in 0..5 {
        place.run("producer", &["send", "slow"]);
    }
    // The others are not kept waiting.
    assert_eq!(place.ask("quick", "1"), (Some(0), "1\n".to_owned()));
    let patience = std::time::Instant::now() + PATIENCE;
    while place.status("slow").leased < 2 {
        assert!(std::time::Instant::now() < patience);
    }
    assert_eq!(place.ask("quick", "1"), (Some(0), "1\n".to_owned()));
    let status = place.status("slow");
    assert_eq!((status.leased, status.ready), (2, 3));
    let leased = ["tasks", "list", "--queue", "slow", "--state", "leased", "--json"];
    let (_, out, _) = place.run("manyhands", &leased);
    let holder = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["holder_pid"].as_u64();
    let pids: Vec<_> = out.lines().map(holder).collect();
    assert_eq!(pids, [Some(u64::from(worker.pid())); 2], "another process tells which one holds them");
    drop(worker);
}
