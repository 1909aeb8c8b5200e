//! `examples/remote_commands`, run as its users run it: the whole show, and a front and workers in processes of their own, some of which
//! are killed in the middle.

#![cfg(all(feature = "local", feature = "redis", feature = "rabbitmq"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "what a helper cannot do fails the test")]

mod deaths;
mod requests;
mod scene;
mod workers;

use manyhands_test_support::servers::{RabbitMq, Redis};

use scene::program;

/// Without arguments: five hundred callers, and as many idle connections.
fn the_whole_show(broker: Option<&str>) {
    let mut command = program();
    if let Some(url) = broker {
        command.env("MANYHANDS_BROKER", url);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let (cost, calls) = printed.trim_end().split_once('\n').expect(&printed);
    assert_eq!(calls, "500 callers, 3 workers: 400 calls answered, all as they should be, and 100 refused");
    let cost = cost.strip_prefix("500 idle connections cost the front ").expect(cost);
    let cost: f64 = cost.strip_suffix(" MiB").expect(cost).parse().unwrap();
    assert!(cost > 0.0 && cost <= 10.0, "{printed}");
}

#[test]
fn five_hundred_callers_over_local() {
    the_whole_show(None);
}

#[test]
fn five_hundred_callers_over_redis() {
    the_whole_show(Some(&Redis::start().unwrap().url()));
}

#[test]
fn five_hundred_callers_over_rabbitmq() {
    the_whole_show(Some(&RabbitMq::shared_url().unwrap()));
}

/// The role of a caller prints what the command printed, and ends as it did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_ends_as_the_command_does() {
    let store = tempfile::tempdir().unwrap();
    let scene = {
        let url = format!("local:{}", store.path().display());
        scene::Scene::with(&url, tempfile::tempdir().unwrap(), None, "").await
    };
    let worker = scene.worker_with(None, "");
    let call = |words: &[&str]| {
        let front = scene.address.to_string();
        let output = program().args(["call", "--front", &front]).args(words).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    for (words, expected) in [
        (&["seq", "1", "3"] as &[&str], (0, "1\n2\n3\n", "")),
        (&["--input", "many hands", "upper"], (0, "MANY HANDS", "")),
        (&["expr", "3", "-", "5"], (0, "-2\n", "")),
        (&["expr", "1", "/", "0"], (2, "", "expr: division by zero\n")),
        (&["expr", "0"], (1, "0\n", "")),
        (&["rm", "-rf", "/"], (255, "", "refused: there is no command \"rm\" in the list\n")),
        (
            &["seq", "-w", "3"],
            (255, "", "refused: seq does not take \"-w\": it begins with a dash, and is not in the list\n"),
        ),
        (&["--deadline-ms", "100", "sleep", "1000"], (255, "", "late: it was not done within 100 ms\n")),
    ] {
        let (code, out, err) = call(words);
        assert_eq!((code, &*out, &*err), expected, "{words:?}");
    }
    drop((worker, scene));
    let output = program().args(["call", "--front", "127.0.0.1:1", "uname"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("there is no front at 127.0.0.1:1"));
}
