//! `manyhands tasks why`: each of its answers, in a sentence and in JSON.

use std::time::Duration;

use manyhands_broker::{End, LimitKey, Payload, QueueOptions, Start, TaskId, Wanted};
use serde_json::{Value, json};

use super::support::*;

fn why(place: &Place, id: &str) -> String {
    place.answer(&["tasks", "why", id])
}

fn object(place: &Place, id: &str) -> Value {
    place.objects(&["tasks", "why", id]).remove(0)
}

#[test]
fn what_must_happen_first_is_told() {
    for place in places() {
        place.with(async |broker| {
            declare(&*broker, "default", QueueOptions::default().with_key_limit(1)).await;
            let keyed = |id| task("default", id).with_key(LimitKey::new("example.org").unwrap());
            let later = task("default", "later").with_start(Start::After(Duration::from_secs(36_000)));
            enqueue(&*broker, &[keyed("1"), keyed("2"), task("default", "3"), task("default", "4"), later])
                .await;
        });
        let next = "it is ready, and the next one: no worker of its queue has had a free slot for it yet\n";
        assert_eq!(why(&place, "1"), next, "{}", place.url);
        assert_eq!(why(&place, "3"), "it is ready, behind 1 task\n", "{}", place.url);
        assert_eq!(why(&place, "4"), "it is ready, behind 2 tasks\n", "{}", place.url);
        let held = "it waits for its key \"example.org\": 1 of 1 permits are taken; it is the next one\n";
        assert_eq!(why(&place, "2"), held, "{}", place.url);
        let due = why(&place, "later");
        assert!(due.starts_with("it is due in 9h59m, at 2") && due.ends_with("Z\n"), "{due}");
        let behind =
            json!({ "queue": "default", "id": "3", "why": "behind", "ahead": 1, "ahead_or_more": false });
        assert_eq!(object(&place, "3"), behind, "{}", place.url);
        let held = json!({
            "queue": "default", "id": "2", "why": "held", "key": "example.org", "permits": 1,
            "key_limit": 1, "opens_in_ms": null, "ahead": 0, "ahead_or_more": false,
        });
        assert_eq!(object(&place, "2"), held, "{}", place.url);
        let due = object(&place, "later");
        assert_eq!(fields(&due), ["due", "due_in_ms", "id", "queue", "why"], "{}", place.url);
        place.answer(&["queues", "pause", "default", "--by", "ann@box"]);
        let paused = why(&place, "3");
        assert!(paused.starts_with("its queue was paused by ann@box at 2"), "{paused}");
        assert!(paused.contains("Z; it is behind 1 task\n"), "{paused}");
        assert!(paused.ends_with("to let it go on: manyhands queues resume default\n"), "{paused}");
        let paused = object(&place, "3");
        assert_eq!(
            fields(&paused),
            ["ahead", "ahead_or_more", "id", "paused_at", "paused_by", "queue", "why"],
            "{}",
            place.url
        );
        assert_eq!(paused["paused_by"], json!("ann@box"));
    }
}

#[test]
fn the_process_that_holds_a_task_is_told() {
    for place in places() {
        place.with(async |broker| {
            enqueue(&*broker, &[task("default", "1")]).await;
            claim(&*broker, "default", 1).await;
            let incarnation = broker.incarnation();
            let told = why(&place, "1");
            let begin = format!("it is leased by process {} on ", std::process::id());
            assert!(told.starts_with(&begin), "{}: {told}", place.url);
            assert!(told.contains(&format!(" (incarnation {incarnation}), 2")), "{told}");
            assert!(told.ends_with("s left unless it renews the lease\n"), "{told}");
            let mut leased = object(&place, "1");
            let left = leased["lease_left_ms"].take().as_u64().unwrap();
            assert!(left > 0 && left <= 30_000, "{left}");
            assert!(leased["holder_host"].take().as_str().is_some_and(|host| !host.is_empty()));
            let wanted = json!({
                "queue": "default", "id": "1", "why": "leased", "holder": incarnation.to_string(),
                "holder_host": null, "holder_pid": std::process::id(), "lease_left_ms": null,
                "cancelled": false, "progress": null,
            });
            assert_eq!(leased, wanted, "{}", place.url);
            place.answer(&["tasks", "cancel", "1", "--yes"]);
            assert!(why(&place, "1").ends_with("; it is cancelled, which its holder is told\n"));
        });
    }
}

#[test]
fn a_name_that_nobody_knows_is_told() {
    for place in places() {
        place.with(async |broker| {
            enqueue(&*broker, &[task("default", "1")]).await;
            let claimed = claim(&*broker, "default", 1).await;
            settle(&*broker, claimed, &End::Park).await;
        });
        let told = why(&place, "1");
        let begin = "no worker that claimed it knows its name: it is parked since 2";
        assert!(told.starts_with(begin), "{}: {told}", place.url);
        assert!(told.contains("; if none knows it until 2") && told.ends_with(", it is dead\n"), "{told}");
        let parked = object(&place, "1");
        assert_eq!(
            fields(&parked),
            ["dies", "dies_in_ms", "due", "due_in_ms", "id", "parked_since", "queue", "why"]
        );
        let dies = parked["dies_in_ms"].as_u64().unwrap();
        assert!(dies > 0 && dies <= 3_600_000, "{}: {dies}", place.url);
    }
}

#[test]
fn what_became_of_a_task_is_told() {
    for place in places() {
        place.with(async |broker| {
            let kept = task("default", "done").with_result(Wanted::Keep(Duration::from_secs(600)));
            let asked = task("default", "cancelled").with_result(Wanted::Keep(Duration::from_secs(600)));
            let dies = task("default", "dead").with_max_attempts(2);
            enqueue(&*broker, &[kept, dies, asked, task("default", "settled")]).await;
            let mut claimed = claim(&*broker, "default", 2).await;
            let dying = claimed.split_off(1);
            let result = Some(Payload::from_json("[1]").unwrap());
            settle(&*broker, claimed, &End::Complete { children: Vec::new(), result }).await;
            let failed = |error: &str| End::Retry { error: error.to_owned(), delay: Duration::ZERO };
            settle(&*broker, dying, &failed("first")).await;
            let cancelled = ["cancelled", "settled"].map(|id| TaskId::new(id).unwrap());
            broker.cancel(&queue("default"), &cancelled).await.unwrap();
            let dying = claim(&*broker, "default", 1).await;
            settle(&*broker, dying, &failed("no\u{1b}[31m")).await;
        });
        assert_eq!(why(&place, "done"), "it completed; its result is kept\n", "{}", place.url);
        assert_eq!(why(&place, "cancelled"), "it was cancelled\n", "{}", place.url);
        assert_eq!(why(&place, "settled"), "it is settled; its id is remembered, and nothing else\n");
        for id in ["done", "cancelled", "settled"] {
            let wanted = json!({ "queue": "default", "id": id, "why": id });
            assert_eq!(object(&place, id), wanted, "{}", place.url);
        }
        let told = why(&place, "dead");
        let lines: Vec<_> = told.lines().collect();
        assert!(lines[0].starts_with("it is dead since 2"), "{}: {told}", place.url);
        assert!(lines[0].ends_with("Z: no\\u{1b}[31m"), "no escapes reach a terminal: {told}");
        assert!(lines[1].ends_with(" first") && lines[2].ends_with(" no\\u{1b}[31m"), "{told}");
        assert_eq!(lines[3..], ["to run it again: manyhands dead revive dead --queue default"]);
        let mut dead = object(&place, "dead");
        assert_eq!(fields(&dead), ["died", "error", "history", "id", "queue", "why"]);
        dead["history"][0]["at"].take();
        assert_eq!(dead["history"][0], json!({ "at": null, "error": "first" }), "{}", place.url);
        let again: Vec<_> = lines[3].split(' ').skip_while(|word| *word != "dead").collect();
        place.answer(&again);
        assert!(why(&place, "dead").starts_with("it is ready, and the next one"), "{}", place.url);
    }
}
