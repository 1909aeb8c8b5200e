//! `manyhands queues`.

use std::time::Duration;

use manyhands_broker::{End, LimitKey, QueueOptions, Start};
use serde_json::json;

use super::support::*;

#[test]
fn queues_are_listed_with_what_is_on_them() {
    for place in places() {
        place.with(async |broker| {
            declare(&*broker, "b", QueueOptions::default().with_capacity(3).with_key_limit(1)).await;
            let later = task("b", "later").with_start(Start::After(Duration::from_secs(3600)));
            let keyed = |id| task("b", id).with_key(LimitKey::new("k").unwrap());
            enqueue(&*broker, &[later, keyed("1"), keyed("2"), task("a", "3"), task("a", "4")]).await;
            let claimed = claim(&*broker, "a", 1).await;
            settle(&*broker, claimed, &bury("no")).await;
            broker.pause(&queue("a"), "operator@host").await.unwrap();
            broker.close(&queue("c")).await.unwrap();
        });
        let wanted = "\
queue  ready  scheduled  held  leased  dead  capacity  order  state
a          1          0     0       0     1   1000000  fifo   paused
b          1          1     1       0     0         3  fifo   full
c          0          0     0       0     0   1000000  fifo   ended
";
        assert_eq!(place.answer(&["queues", "list"]), wanted, "{}", place.url);
        let named = place.answer(&["queues", "list", "c"]);
        assert_eq!(named.lines().nth(1), wanted.lines().nth(3), "{}", place.url);
        let objects = place.objects(&["queues", "list", "b"]);
        let wanted = json!({
            "queue": "b", "ready": 1, "scheduled": 1, "held": 1, "leased": 0, "dead": 0,
            "paused": false, "paused_by": null, "paused_at": null, "closed": false,
            "capacity": 3, "order": "fifo", "key_limit": 1, "key_interval_ms": 0,
            "remember_ids_ms": 3_600_000, "revision": 1,
        });
        let mut found = objects[0].clone();
        // A queue that was made with options and one that got them later count differently on no broker.
        found["revision"] = json!(1);
        assert_eq!((objects.len(), found), (1, wanted), "{}", place.url);
    }
}

#[test]
fn more_queues_than_one_page_are_listed() {
    for place in places() {
        place.with(async |broker| {
            for number in 0..300 {
                broker.declare(&queue(&format!("q{number:03}")), None).await.unwrap();
            }
        });
        let out = place.answer(&["queues", "list"]);
        let names: Vec<_> = out.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
        let wanted: Vec<_> = (0..300).map(|number| format!("q{number:03}")).collect();
        assert_eq!(names, wanted, "{}", place.url);
    }
}

#[test]
fn options_are_set() {
    for place in places() {
        let args = ["queues", "set", "q", "--capacity", "7", "--key-limit", "2", "--key-interval", "1m30s"];
        let wanted = "\
queue         q
capacity      7
order         fifo
key_limit     2
key_interval  1m30s
remember_ids  1h
revision      2
";
        assert_eq!(place.answer(&args), wanted, "a queue that was not there: {}", place.url);
        let again = ["queues", "set", "q", "--remember-ids", "0s", "--key-interval", "none"];
        let object = place.objects(&again).remove(0);
        assert_eq!(
            (&object["capacity"], &object["key_limit"], &object["key_interval_ms"], &object["revision"]),
            (&json!(7), &json!(2), &json!(0), &json!(3)),
            "{}",
            place.url
        );
        assert_eq!(object["remember_ids_ms"], json!(0));
        place.with(async |broker| enqueue(&*broker, &[task("q", "1")]).await);
        let (code, out, said) = place.run(&["queues", "set", "q", "--order", "priority"]);
        assert_eq!((code, out.as_str()), (Some(4), ""), "{said}");
        assert!(
            said.starts_with("error: queue \"q\" has 1 tasks in order fifo, which cannot become priority\n"),
            "{said}"
        );
        place.answer(&["tasks", "cancel", "1", "--queue", "q", "--yes"]);
        let object =
            place.objects(&["queues", "set", "q", "--order", "priority", "--key-limit", "none"]).remove(0);
        assert_eq!(
            (&object["order"], &object["key_limit"]),
            (&json!("priority"), &json!(null)),
            "{}",
            place.url
        );
    }
}

#[test]
fn what_is_no_option_is_refused() {
    let place = local();
    for (args, why) in [
        (&["queues", "set", "q"][..], "required arguments"),
        (&["queues", "set", "q", "--key-interval", "5"], "\"5\" is no duration"),
        (&["queues", "set", "q", "--order", "random"], "possible values: fifo, lifo, priority"),
        (&["queues", "set", "q", "--capacity", "0"], "the capacity is 1 to 2^53 tasks"),
        (&["queues", "set", "a b", "--capacity", "1"], "may not contain ' '"),
        (&["queues", "purge", "q", "--state", "leased"], "possible values: ready, scheduled, held"),
    ] {
        let (code, out, said) = place.run(args);
        assert_eq!((code, out.as_str(), said.contains(why)), (Some(2), "", true), "{args:?}: {said}");
    }
}

#[test]
fn two_operators_do_not_lose_each_others_change() {
    for place in places() {
        place.with(async |broker| declare(&*broker, "q", QueueOptions::default()).await);
        let before = place.objects(&["queues", "list", "q"])[0]["revision"].as_u64().unwrap();
        let mut first = place.command(&["queues", "set", "q", "--capacity", "7"]);
        let mut second = place.command(&["queues", "set", "q", "--remember-ids", "5s"]);
        let both = [first.spawn().unwrap(), second.spawn().unwrap()];
        for mut operator in both {
            assert!(operator.wait().unwrap().success(), "{}", place.url);
        }
        let object = place.objects(&["queues", "list", "q"]).remove(0);
        assert_eq!(
            (&object["capacity"], &object["remember_ids_ms"], &object["revision"]),
            (&json!(7), &json!(5000), &json!(before + 2)),
            "{}",
            place.url
        );
    }
}

#[test]
fn a_paused_queue_gives_nothing_until_it_goes_on() {
    for place in places() {
        place.with(async |broker| enqueue(&*broker, &[task("q", "1")]).await);
        assert_eq!(place.answer(&["queues", "pause", "q"]), "q: paused\n");
        assert_eq!(place.answer(&["queues", "pause", "q", "--by", "somebody else"]), "q: paused\n");
        let object = place.objects(&["queues", "list", "q"]).remove(0);
        let by = object["paused_by"].as_str().unwrap().to_owned();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        assert!(by.ends_with(&format!("@{host}")), "the first who paused it: {by}");
        let why = place.objects(&["tasks", "why", "1", "--queue", "q"]).remove(0);
        assert_eq!((&why["paused_by"], &why["paused_at"]), (&object["paused_by"], &object["paused_at"]));
        let said = place.answer(&["tasks", "why", "1", "--queue", "q"]);
        let at = object["paused_at"].as_str().unwrap();
        assert!(
            said.starts_with(&format!("its queue was paused by {by} at {at}; it is the next one\n")),
            "{said}"
        );
        assert_eq!(place.with(async |broker| claim(&*broker, "q", 1).await.len()), 0, "{}", place.url);
        assert_eq!(place.objects(&["queues", "resume", "q"]), [json!({ "queue": "q", "paused": false })]);
        assert_eq!(place.with(async |broker| claim(&*broker, "q", 1).await.len()), 1, "{}", place.url);
        let (code, out, said) = place.run(&["queues", "pause", "q", "nope"]);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{said}");
        assert!(said.contains("there is no queue \"nope\"\n"), "{said}");
        let object = place.objects(&["queues", "list", "q"]).remove(0);
        assert_eq!(object["paused"], json!(false), "nothing was done by half");
    }
}

#[test]
fn what_waits_is_purged() {
    for place in places() {
        place.with(async |broker| {
            let many: Vec<_> = (0..600).map(|number| task("q", &format!("t{number}"))).collect();
            let later = task("q", "later").with_start(Start::After(Duration::from_secs(3600)));
            enqueue(&*broker, &many).await;
            enqueue(&*broker, &[later]).await;
            let running = claim(&*broker, "q", 1).await;
            let (code, _, said) = place.run(&["queues", "purge", "q"]);
            assert_eq!(code, Some(2), "{said}");
            assert!(
                said.contains("cancel 600 tasks of queue \"q\" that are ready or scheduled or held"),
                "{said}"
            );
            assert_eq!(
                place.answer(&["queues", "purge", "q", "--state", "ready", "--yes"]),
                "q: 599 tasks cancelled\n"
            );
            assert_eq!(
                place.objects(&["queues", "purge", "q", "-y"]),
                [json!({ "queue": "q", "purged": 1 })]
            );
            settle(&*broker, running, &End::complete(Vec::new())).await;
        });
        let object = place.objects(&["queues", "list", "q"]).remove(0);
        let left = ["ready", "scheduled", "held", "leased", "dead"].map(|state| object[state].as_u64());
        assert_eq!(left, [Some(0); 5], "{}", place.url);
        assert_eq!(place.run(&["fsck"]).0, Some(0), "{}", place.url);
    }
}
