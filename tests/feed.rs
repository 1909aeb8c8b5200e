//! `producer feed`, run as a process: each line is sent once, however often it is interrupted and repeated.

#![cfg(all(feature = "cli", feature = "local", feature = "rabbitmq", feature = "redis"))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

mod programs;

use std::{
    io::{Read, Write},
    process::{Child, Stdio},
    time::Duration,
};

use manyhands::{Broker, BrokerUrl, QueueName};
use manyhands_broker::{Claim, End, Settlement};
use manyhands_test_support::{
    kill::{self, Signal},
    servers::{RabbitMq, Redis},
};

use self::programs::{PATIENCE, Place, told};

/// A file of numbers, two lines of which are equal.
fn numbers(place: &Place, lines: u64) {
    let number = |n: u64| if n == 7 { 6 } else { n };
    let text: String = (1..=lines).map(|n| format!("{{\"n\": {}}}\n", number(n))).collect();
    place.write("numbers.jsonl", text);
}

/// What the last line says: sent, already there, rejected.
fn counts(out: &str) -> (u64, u64, u64) {
    let number = |part: &str| part.rsplit(' ').next().unwrap().parse().unwrap();
    let parts: Vec<&str> = out.trim().split(", ").collect();
    assert!(out.starts_with("sent ") && out.ends_with("/s\n") && parts.len() == 4, "{out:?}");
    (number(parts[0]), number(parts[1]), number(parts[2]))
}

/// Waits until so many tasks are on the queue.
async fn until(broker: &dyn Broker, ready: u64) {
    let queue = QueueName::new("default").unwrap();
    let there = async {
        loop {
            let changed = broker.wait(std::slice::from_ref(&queue));
            if broker.status(&queue).await.unwrap().is_some_and(|status| status.ready >= ready) {
                return;
            }
            let _ = tokio::time::timeout(Duration::from_millis(20), changed).await;
        }
    };
    tokio::time::timeout(PATIENCE, there).await.unwrap();
}

/// Takes tasks off the queue and completes them, until there are no more; their payloads.
async fn drain(broker: &dyn Broker, at_most: usize) -> Vec<String> {
    let queue = QueueName::new("default").unwrap();
    let mut found = Vec::new();
    while found.len() < at_most {
        let claim = Claim::new(queue.clone(), (at_most - found.len()).min(256));
        let tasks = broker.claim(&claim).await.unwrap().tasks;
        if tasks.is_empty() {
            break;
        }
        found.extend(tasks.iter().map(|task| task.payload.as_str().to_owned()));
        let done =
            |task: manyhands_broker::ClaimedTask| Settlement::new(task.lease, End::complete(Vec::new()));
        broker.settle(&tasks.into_iter().map(done).collect::<Vec<_>>()).await.unwrap();
    }
    found
}

fn feed(place: &Place, args: &[&str]) -> Child {
    place.program("producer").args([&["feed", "count"], args].concat()).spawn().unwrap()
}

/// Interrupted by SIGINT, then by SIGKILL, then let to its end, then once more: each line is there once, in order.
#[test]
fn an_interrupted_feed_is_resumed() {
    const LINES: u64 = 20_000;
    let place = Place::new();
    numbers(&place, LINES);
    let slowly = ["numbers.jsonl", "--rate", "2000/s"];
    let child = feed(&place, &slowly);
    place.look(|broker| async move { until(&*broker, 500).await });
    kill::send(child.id(), Signal::INT).unwrap();
    let (code, out, err) = told(child.wait_with_output().unwrap());
    assert_eq!(code, Some(130), "{err}");
    assert!(err.contains("interrupted: the same command again sends the rest, and nothing twice"), "{err}");
    let (first, ..) = counts(&out);
    assert!((500..LINES).contains(&first));
    assert_eq!(place.status("default").ready, first);

    let mut child = feed(&place, &slowly);
    place.look(|broker| async move { until(&*broker, first + 500).await });
    kill::kill(child.id()).unwrap();
    child.wait().unwrap();
    let second = place.status("default").ready;

    let (code, out, err) = place.run("producer", &["feed", "count", "numbers.jsonl"]);
    assert_eq!((code, counts(&out)), (Some(0), (LINES - second, second, 0)), "{err}");
    let (_, out, _) = place.run("producer", &["feed", "count", "numbers.jsonl", "--json"]);
    let last: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&last["sent"], &last["already_there"], &last["done"]),
        (&0.into(), &LINES.into(), &true.into())
    );
    place.fsck();
    let lines = place.look(|broker| async move { drain(&*broker, usize::MAX).await });
    assert_eq!(lines.join("\n") + "\n", std::fs::read_to_string(place.path("numbers.jsonl")).unwrap());
    // Settled ones are remembered, too.
    let (_, out, _) = place.run("producer", &["feed", "count", "numbers.jsonl"]);
    assert_eq!(counts(&out), (0, LINES, 0));
    // The same lines for another handler are other tasks.
    let (_, out, _) = place.run("producer", &["feed", "double", "numbers.jsonl"]);
    assert_eq!(counts(&out), (LINES, 0, 0));
}

#[test]
fn a_feed_goes_on_after_its_broker_was_lost() {
    const LINES: u64 = 20_000;
    let place = Place::new();
    numbers(&place, LINES);
    let mut redis = Redis::options().append_only().start().unwrap();
    let url = redis.url();
    let look = |url: &str| {
        let url: BrokerUrl = url.parse().unwrap();
        async move { manyhands::connect(&url).await.unwrap() }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let args = ["numbers.jsonl", "--broker", &url];
    let child = feed(&place, &[&args[..], &["--rate", "4000/s"]].concat());
    runtime.block_on(async { until(&*look(&url).await, 400).await });
    redis.kill().unwrap();
    let (code, out, err) = told(child.wait_with_output().unwrap());
    assert_eq!(code, Some(3), "{err}");
    assert!(err.contains("\n  broker  redis://") && err.contains("\n  try     "), "{err}");
    assert!(counts(&out).0 < LINES);
    redis.restart().unwrap();
    let (code, out, err) = told(feed(&place, &args).wait_with_output().unwrap());
    assert_eq!(code, Some(0), "{err}");
    let (sent, already_there, _) = counts(&out);
    assert_eq!(sent + already_there, LINES);
    let status = runtime.block_on(async {
        look(&url).await.status(&QueueName::new("default").unwrap()).await.unwrap().unwrap()
    });
    assert_eq!(status.ready, LINES);
}

#[test]
fn bad_lines_are_rejected_and_the_rest_is_sent() {
    let place = Place::new();
    let long = format!("\"{}\"", "x".repeat(1024 * 1024 - 1));
    let text = [b"1\n{bad\n\"\xff\"\n\n2\n", long.as_bytes(), b"\n3"].concat();
    let file = place.write("bad.jsonl", text);
    let (code, out, err) = place.run("producer", &["feed", "count", "bad.jsonl"]);
    assert_eq!((code, counts(&out)), (Some(4), (3, 0, 3)));
    assert_eq!(err, "note: rejected lines are in bad.jsonl.rejected\n");
    let rejected = std::fs::read_to_string(place.path("bad.jsonl.rejected")).unwrap();
    let lines: Vec<serde_json::Value> =
        rejected.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let reason = |n: usize| lines[n]["reason"].as_str().unwrap();
    assert_eq!(lines.iter().map(|line| line["line"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 3, 6]);
    assert!(reason(0).starts_with("not JSON: key must be a string"), "{rejected}");
    assert_eq!(lines[0]["text"], "{bad");
    assert_eq!(reason(1), "not UTF-8: byte 2 is none of a character's");
    assert_eq!(
        (reason(2), &lines[2]["text"]),
        ("it has 1048577 bytes, at most 1048576 are allowed", &serde_json::Value::Null)
    );

    let (code, out, err) =
        place.run("producer", &["feed", "count", "bad.jsonl", "--strict", "--batch", "again"]);
    assert_eq!((code, counts(&out)), (Some(4), (1, 0, 1)));
    assert!(err.contains("error: line 2 of bad.jsonl: not JSON"), "{err}");
    // Mended, the lines that were sent under that name are not sent again.
    std::fs::write(file, "1\n2\n").unwrap();
    let (code, out, _) =
        place.run("producer", &["feed", "count", "bad.jsonl", "--strict", "--batch", "again"]);
    assert_eq!((code, counts(&out)), (Some(0), (1, 1, 0)));
    assert!(!place.path("bad.jsonl.rejected").exists(), "there are none any more");
}

/// What a process had in memory at most, in KiB.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// From a pipe, line by line, and the longest of them is held by nobody.
#[test]
fn neither_a_file_nor_a_line_is_held_in_memory() {
    const LINE: usize = 200 * 1024 * 1024;
    let place = Place::new();
    let mut child = place.program("producer");
    let mut child = child.args(["feed", "count", "--batch", "pipe"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(b"1\n").unwrap();
    std::io::copy(&mut std::io::repeat(b'x').take(LINE as u64), &mut pipe).unwrap();
    pipe.write_all(b"\n2\n").unwrap();
    // It does not wait for a full batch.
    place.look(|broker| async move { until(&*broker, 2).await });
    let peak = peak(child.id());
    assert!(peak * 1024 < LINE as u64 / 2, "{peak} KiB");
    drop(pipe);
    let (code, out, err) = told(child.wait_with_output().unwrap());
    assert_eq!((code, counts(&out)), (Some(4), (2, 0, 1)), "{err}");
    let rejected = std::fs::read_to_string(place.path("pipe.rejected")).unwrap();
    assert!(rejected.contains(&format!("it has {} bytes", LINE + 1)), "{rejected}");
}

#[test]
fn standard_input_is_resumed_by_name_only() {
    let place = Place::new();
    for (args, sent, note) in [
        (&["--batch", "monday"][..], (2, 0, 0), "the same command again sends the rest"),
        (&["--batch", "monday"], (1, 2, 0), "the same command again sends the rest"),
        (&[], (3, 0, 0), "as standard input has no name; with --batch NAME it could be resumed"),
    ] {
        let lines: &[u8] = if sent.0 == 2 { b"1\n2\n" } else { b"1\n2\n3\n" };
        let ready = if sent.0 == 2 { 2 } else { 3 } + if args.is_empty() { 3 } else { 0 };
        let mut child = place.program("producer");
        let mut child =
            child.args([&["feed", "count", "-"], args].concat()).stdin(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        pipe.write_all(lines).unwrap();
        place.look(|broker| async move { until(&*broker, ready).await });
        kill::send(child.id(), Signal::TERM).unwrap();
        let (code, out, err) = told(child.wait_with_output().unwrap());
        assert_eq!(code, Some(130));
        assert!(err.contains(note), "{err}");
        assert_eq!(counts(&out), sent);
        drop(pipe);
    }
}

/// A queue that is full holds it back; the lines keep their order.
#[test]
fn a_full_queue_holds_it_back() {
    let place = Place::with("[queues.default]\ncapacity = 10\n");
    numbers(&place, 300);
    let child = feed(&place, &["numbers.jsonl"]);
    let lines = place.look(|broker| async move {
        let mut lines = Vec::new();
        while lines.len() < 300 {
            until(&*broker, 1).await;
            lines.extend(drain(&*broker, 7).await);
        }
        lines
    });
    let (code, out, err) = told(child.wait_with_output().unwrap());
    assert_eq!((code, counts(&out)), (Some(0), (300, 0, 0)));
    assert_eq!(err, "note: queue \"default\" is full; waiting for room\n");
    assert_eq!(lines.join("\n") + "\n", std::fs::read_to_string(place.path("numbers.jsonl")).unwrap());
}

/// On a full queue that nobody empties, a signal ends it.
#[test]
fn an_interruption_is_heard_while_it_waits() {
    let place = Place::with("[queues.default]\ncapacity = 10\n");
    numbers(&place, 300);
    let mut child = feed(&place, &["numbers.jsonl"]);
    let mut said = [0; 4];
    child.stderr.as_mut().unwrap().read_exact(&mut said).unwrap();
    kill::send(child.id(), Signal::INT).unwrap();
    let (code, out, err) = told(child.wait_with_output().unwrap());
    assert_eq!((code, counts(&out)), (Some(130), (10, 0, 0)), "{err}");
}

#[test]
fn a_closed_queue_ends_it() {
    let place = Place::new();
    numbers(&place, 3);
    let queue = QueueName::new("default").unwrap();
    place.look(|broker| async move { broker.close(&queue).await.unwrap() });
    let (code, out, err) = place.run("producer", &["feed", "count", "numbers.jsonl"]);
    assert_eq!((code, counts(&out)), (Some(4), (0, 0, 0)));
    assert!(err.contains("error: queue \"default\" is closed"), "{err}");
}

#[test]
fn without_ids_it_says_so_and_works() {
    let place = Place::new();
    numbers(&place, 300);
    let rabbitmq = RabbitMq::start().unwrap();
    let args = ["feed", "count", "numbers.jsonl", "--broker", &rabbitmq.url()];
    let (code, out, err) = place.run("producer", &args);
    assert_eq!((code, counts(&out)), (Some(0), (300, 0, 0)), "{err}");
    let note =
        "note: rabbitmq remembers no ids: if this is interrupted, feeding it again doubles what was sent\n";
    assert_eq!(err, note);
    let (code, out, err) = place.run("producer", &[&args[..], &["--batch", "a"]].concat());
    assert_eq!((code, out.as_str()), (Some(4), ""));
    assert!(err.contains("remembers no ids, so lines cannot be named"), "{err}");
}

#[test]
fn what_is_wrong_is_said_with_its_exit_code() {
    let place = Place::new();
    place.write("a.jsonl", "1\n");
    std::fs::create_dir(place.path("folder")).unwrap();
    std::fs::create_dir(place.path("a.jsonl.rejected")).unwrap();
    let cases: [(&[&str], i32, &str); 9] = [
        (&["count", "missing"], 2, "error: missing cannot be read"),
        (&["count", "folder"], 2, "error: folder is a directory"),
        (&["a b", "a.jsonl"], 2, "a task name may not contain ' '"),
        (&["count", "a.jsonl", "--rate", "100"], 2, "\"100\" is no rate: write 100/s"),
        (&["count", "a.jsonl", "--batch", "a b"], 2, "a batch name may not contain ' '"),
        (&["count", "a.jsonl", "--rejected", "a.jsonl"], 2, "a.jsonl is the file that is fed"),
        (&["count", "a.jsonl"], 2, "rejected lines cannot be written to a.jsonl.rejected"),
        (&["count", "a.jsonl", "--broker", "local:/proc/nothing"], 3, "error: cannot use /proc/nothing"),
        (
            &["count", "a.jsonl", "--broker", "redis://u:secret@127.0.0.1:1"],
            3,
            "  broker  redis://…@127.0.0.1:1",
        ),
    ];
    for (args, code, why) in cases {
        let (ended, out, err) = place.run("producer", &[&["feed"], args].concat());
        assert_eq!((ended, err.contains(why), out.as_str()), (Some(code), true, ""), "{args:?}: {err}");
        assert!(!err.contains("secret"), "{err}");
    }
}
