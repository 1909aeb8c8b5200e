//! `manyhands tasks`.

use std::time::Duration;

use manyhands_broker::{
    BatchName, Beat, End, LimitKey, Payload, QueueOptions, Start, Unique, Wanted, limits,
};
use serde_json::json;

use super::support::*;

#[test]
fn tasks_are_listed_state_by_state() {
    for place in places() {
        place.with(async |broker| {
            declare(&*broker, "default", QueueOptions::default().with_key_limit(1)).await;
            enqueue(&*broker, &["run", "dead", "r1", "r2"].map(|id| task("default", id))).await;
            let mut claimed = claim(&*broker, "default", 2).await;
            settle(&*broker, claimed.split_off(1), &bury("no")).await;
            let keyed = |id| task("default", id).with_key(LimitKey::new("example.org").unwrap());
            let later = task("default", "later").with_start(Start::After(Duration::from_secs(3600)));
            enqueue(&*broker, &[keyed("r3"), keyed("held"), later]).await;

            let out = place.answer(&["tasks", "list"]);
            let found: Vec<Vec<_>> =
                out.lines().skip(1).map(|line| line.split_whitespace().take(3).collect()).collect();
            let wanted = [
                ["run", "work", "leased"],
                ["r1", "work", "ready"],
                ["r2", "work", "ready"],
                ["r3", "work", "ready"],
                ["held", "work", "held"],
                ["later", "work", "scheduled"],
                ["dead", "work", "dead"],
            ];
            assert_eq!(found, wanted, "{}", place.url);
            let ids = |args: &[&str]| {
                let objects = place.objects(&[&["tasks", "list"], args].concat());
                objects.iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(ids(&["--state", "ready"]), ["r1", "r2", "r3"], "{}", place.url);
            assert_eq!(ids(&["--state", "held"]), ["held"], "{}", place.url);
        });
    }
}

#[test]
fn a_long_list_says_how_to_go_on() {
    for place in places() {
        place.with(async |broker| {
            let many: Vec<_> = (0..700).map(|number| task("q", &format!("t{number:03}"))).collect();
            enqueue(&*broker, &many).await;
        });
        let all = place.answer(&["tasks", "list", "--queue", "q", "--limit", "9999", "--json"]);
        assert_eq!(all.lines().count(), 700, "{}", place.url);
        let (code, first, said) =
            place.run(&["tasks", "list", "--queue", "q", "--state", "ready", "--limit", "650", "--json"]);
        assert_eq!(code, Some(0), "{said}");
        let command = said.split("to go on: manyhands ").nth(1).unwrap().trim();
        let args: Vec<_> = command.split(' ').map(|arg| arg.trim_matches('\'')).collect();
        let rest = place.answer(&[args.as_slice(), &["--json"]].concat());
        assert_eq!(format!("{first}{rest}"), all, "{}", place.url);
    }
}

#[test]
fn a_task_is_shown() {
    for place in places() {
        place.with(async |broker| {
            let options =
                QueueOptions::default().with_order(manyhands_broker::Order::Priority).with_key_limit(1);
            declare(&*broker, "q", options).await;
            let full = task("q", "full")
                .with_priority(-3)
                .with_max_attempts(2)
                .with_key(LimitKey::new("example.org").unwrap())
                .with_unique(Unique::until_settled("u").unwrap())
                .in_batch(BatchName::new("films").unwrap())
                .with_result(Wanted::Keep(Duration::from_secs(60)));
            enqueue(&*broker, &[full]).await;
            let claimed = claim(&*broker, "q", 1).await;
            let retry = End::Retry { error: "it failed".to_owned(), delay: Duration::ZERO };
            settle(&*broker, claimed, &retry).await;
            let claimed = claim(&*broker, "q", 1).await;
            let progress = Some(Payload::from_json("{\"done\":3}").unwrap());
            broker.beat(&[Beat { lease: claimed[0].lease.clone(), progress }], limits::LEASE).await.unwrap();

            let mut object = place.objects(&["tasks", "show", "full", "--queue", "q"]).remove(0);
            let left = object["lease_left_ms"].take().as_u64().unwrap();
            assert!(left > 0 && left <= 30_000, "{left}");
            assert_eq!(object["holder"].take(), json!(broker.incarnation().to_string()));
            assert_eq!(object["holder_pid"].take(), json!(std::process::id()));
            assert!(object["holder_host"].take().is_string());
            assert_eq!(object["epoch"].take(), json!(claimed[0].lease.epoch));
            let at = object["history"][0]["at"].take();
            assert!(at.as_str().unwrap().ends_with('Z'), "{at}");
            let wanted = json!({
                "queue": "q", "id": "full", "name": "work", "state": "leased", "priority": -3,
                "alone": false, "due": null, "due_in_ms": null, "parked_since": null, "expires": null,
                "holder": null, "holder_host": null, "holder_pid": null, "lease_left_ms": null, "cancelled": false, "died": null,
                "attempts": 1, "max_attempts": 2, "crashes": 0, "max_crashes": 3, "epoch": null,
                "unique": "u", "key": "example.org", "batch": "films", "keep_result_ms": 60_000, "run_limit_ms": null,
                "error": "it failed", "payload_bytes": 12,
                "payload": { "n": "full" }, "progress": { "done": 3 },
                "history": [{ "at": null, "error": "it failed" }],
            });
            assert_eq!(object, wanted, "{}", place.url);
            let listed = place.objects(&["tasks", "list", "--queue", "q"]).remove(0);
            assert_eq!(listed["holder_pid"], json!(std::process::id()), "{}", place.url);
            let out = place.answer(&["tasks", "show", "full", "--queue", "q"]);
            let holder = format!("holder    process {} on ", std::process::id());
            assert!(out.lines().any(|found| found.starts_with(&holder)), "{out}");
            for line in
                ["id        full", "attempts  1 of 2", "payload   {\"n\":\"full\"}", "progress  {\"done\":3}"]
            {
                assert!(out.lines().any(|found| found == line), "{line}: {out}");
            }
            let done =
                End::Complete { children: Vec::new(), result: Some(Payload::from_json("[1]").unwrap()) };
            settle(&*broker, claimed, &done).await;
        });
        let ended = place.objects(&["tasks", "show", "full", "--queue", "q"]);
        let wanted = json!({ "queue": "q", "id": "full", "state": "done", "result": [1] });
        assert_eq!(ended, [wanted], "{}", place.url);
    }
}

#[test]
fn tasks_are_cancelled() {
    for place in places() {
        place.with(async |broker| {
            enqueue(&*broker, &["1", "2", "3"].map(|id| task("default", id))).await;
            let running = claim(&*broker, "default", 1).await;
            let (code, out, said) = place.run(&["tasks", "cancel", "2"]);
            assert_eq!((code, out.as_str()), (Some(2), ""), "it is not done without being asked: {said}");
            assert!(said.contains("needs --yes"), "{said}");
            let (code, out, _) = place.run(&["tasks", "cancel", "1", "2", "nope", "--yes", "--json"]);
            let answers: Vec<_> = out
                .lines()
                .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["answer"].take())
                .collect();
            assert_eq!(
                (code, answers),
                (Some(1), vec![json!("asked"), json!("cancelled"), json!("unknown")])
            );
            let beaten = broker.beat(&Beat::all(&[running[0].lease.clone()]), limits::LEASE).await.unwrap();
            assert_eq!(beaten, [manyhands_broker::Beaten::Cancelled], "{}", place.url);
            assert_eq!(place.answer(&["tasks", "cancel", "3", "--yes"]), "3: cancelled\n");
        });
    }
}

#[test]
fn what_is_not_there_is_said() {
    for place in places() {
        place.with(async |broker| enqueue(&*broker, &[task("default", "1")]).await);
        for args in [&["tasks", "show", "nope"][..], &["tasks", "why", "nope"]] {
            let (code, out, said) = place.run(args);
            assert_eq!((code, out.as_str()), (Some(1), ""), "{said}");
            assert!(said.starts_with("error: there is no task nope in queue \"default\""), "{said}");
            assert!(said.contains("\n  broker  ") && said.contains("\n  try     "), "{said}");
        }
        // Whoever forgot the queue is told it.
        place.with(async |broker| enqueue(&*broker, &[task("images", "there")]).await);
        for operation in ["show", "why"] {
            let (code, _, said) = place.run(&["tasks", operation, "there"]);
            let advice = format!("\n  try     manyhands tasks {operation} there --queue images\n");
            assert!(code == Some(1) && said.contains(&advice), "{said}");
            let (code, _, said) = place.run(&["tasks", operation, "there", "--queue", "nope"]);
            assert!(code == Some(1) && said.contains(&advice), "{said}");
        }
        for command in [
            &["tasks", "list"][..],
            &["tasks", "show", "1"],
            &["tasks", "why", "1"],
            &["tasks", "cancel", "1", "-y"],
        ] {
            let (code, out, said) = place.run(&[command, &["--queue", "nope"]].concat());
            assert_eq!((code, out.as_str()), (Some(1), ""), "{said}");
            assert!(said.starts_with("error: there is no queue \"nope\"\n"), "{said}");
        }
    }
}
