//! `manyhands dead`.

use manyhands_broker::{QueueOptions, Unique};
use serde_json::json;

use super::support::*;

#[test]
fn the_dead_are_listed() {
    for place in places() {
        place.with(async |broker| three_dead(&*broker).await);
        let out = place.answer(&["dead", "list"]);
        let found: Vec<_> =
            out.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
        let said: Vec<_> = found.iter().map(|row| (row[0], row[1], row[3], row[4..].join(" "))).collect();
        let wanted = ["d1", "d2", "d3"].map(|id| (id, "work", "0", format!("no {id}")));
        assert_eq!(said, wanted, "{}", place.url);
        let mut objects = place.objects(&["dead", "list"]);
        let mark = objects[0]["mark"].clone();
        for field in ["died", "mark"] {
            objects[0][field].take();
        }
        objects[0]["history"][0]["at"].take();
        let wanted = json!({
            "queue": "default", "id": "d1", "name": "work", "error": "no d1", "attempts": 0, "crashes": 0,
            "died": null, "mark": null, "payload": { "n": "d1" }, "history": [{ "at": null, "error": "no d1" }],
        });
        assert_eq!(objects[0], wanted, "{}", place.url);
        let (code, out, said) = place.run(&["dead", "list", "--limit", "1"]);
        assert_eq!((code, out.lines().count()), (Some(0), 2));
        assert_eq!(
            said,
            format!(
                "there are more: --limit N lists so many; to go on: manyhands dead list --queue default --after {mark}\n"
            )
        );
        let rest = place.objects(&["dead", "list", "--after", &mark.to_string()]);
        assert_eq!(rest, objects[1..], "{}", place.url);
    }
}

#[test]
fn the_dead_are_revived() {
    for place in places() {
        place.with(async |broker| three_dead(&*broker).await);
        let (code, out, said) = place.run(&["dead", "revive", "d2", "nope"]);
        assert_eq!(
            (code, out.as_str(), said.as_str()),
            (Some(1), "d2: revived\nnope: is not among the dead\n", ""),
            "{}",
            place.url
        );
        assert_eq!(place.answer(&["dead", "revive", "--all"]), "default: 2 tasks revived\n");
        let ids = place.with(async |broker| claim(&*broker, "default", 9).await);
        let ids: Vec<_> = ids.iter().map(|task| task.lease.id.to_string()).collect();
        assert_eq!(ids, ["d2", "d1", "d3"], "{}", place.url);
    }
}

#[test]
fn a_full_queue_takes_no_revived_task() {
    for place in places() {
        place.with(async |broker| {
            declare(&*broker, "default", QueueOptions::default().with_capacity(2)).await;
            three_dead(&*broker).await;
            enqueue(&*broker, &[task("default", "other")]).await;
        });
        let (code, out, said) = place.run(&["dead", "revive", "--all"]);
        assert_eq!((code, out.as_str()), (Some(4), ""), "{said}");
        let wanted =
            "error: queue \"default\" is full: 1 tasks were revived, d2 and those after it stay dead\n";
        assert!(said.starts_with(wanted), "{said}");
        let command = said.split("or first: manyhands ").nth(1).unwrap().trim().replace('N', "9");
        place.answer(&command.split(' ').collect::<Vec<_>>());
        assert_eq!(place.answer(&["dead", "revive", "--all"]), "default: 2 tasks revived\n", "{}", place.url);
    }
}

#[test]
fn a_key_that_is_taken_keeps_a_task_dead() {
    for place in places() {
        place.with(async |broker| {
            let keyed = |id| task("default", id).with_unique(Unique::until_settled("u").unwrap());
            enqueue(&*broker, &[keyed("old")]).await;
            let claimed = claim(&*broker, "default", 1).await;
            settle(&*broker, claimed, &bury("no")).await;
            enqueue(&*broker, &[keyed("new")]).await;
        });
        let (code, out, _) = place.run(&["dead", "revive", "old"]);
        assert_eq!((code, out.as_str()), (Some(1), "old: stays dead: task new has its unique key\n"));
        let (code, out, _) = place.run(&["dead", "revive", "--all", "--json"]);
        let wanted = json!({ "queue": "default", "id": "old", "answer": "duplicate", "has_its_key": "new" });
        assert_eq!((code, out), (Some(1), format!("{wanted}\n")), "{}", place.url);
    }
}

#[test]
fn the_dead_are_removed() {
    for place in places() {
        place.with(async |broker| three_dead(&*broker).await);
        let (code, out, said) = place.run(&["dead", "purge", "--all"]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "it is not done without being asked: {said}");
        assert!(said.contains("remove 3 dead tasks of queue \"default\" for good"), "{said}");
        let (code, out, _) = place.run(&["dead", "purge", "d1", "nope", "--yes"]);
        assert_eq!((code, out.as_str()), (Some(1), "d1: removed\nnope: is not among the dead\n"));
        let purged = place.objects(&["dead", "purge", "--all", "--yes"]);
        assert_eq!(purged, [json!({ "queue": "default", "purged": 2 })], "{}", place.url);
        let empty = (Some(0), String::new(), "there are no dead tasks\n".to_owned());
        assert_eq!(place.run(&["dead", "list"]), empty, "{}", place.url);
        for args in [&["dead", "revive"][..], &["dead", "purge", "x", "--all"]] {
            assert_eq!(place.run(args).0, Some(2), "{args:?}");
        }
    }
}
