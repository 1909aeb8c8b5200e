//! Every field of `--json` is on the page of its command.

use std::time::Duration;

use manyhands_broker::{End, LimitKey, QueueOptions, Start};
use serde_json::Value;

use super::support::*;

const PAGE: &str = include_str!("../../docs/commands.md");

/// What the page says under these headings.
fn chapters(headings: &[&str]) -> String {
    let text = |heading: &&str| {
        let begin = format!("\n## {heading}");
        let at = PAGE.find(&begin).unwrap_or_else(|| panic!("docs/commands.md has no chapter {heading}"));
        let rest = &PAGE[at + begin.len()..];
        rest.split("\n## ").next().unwrap_or_default().to_owned()
    };
    headings.iter().map(text).collect()
}

fn compare(command: &[&str], objects: &[Value], headings: &[&str]) {
    let text = chapters(headings);
    assert!(!objects.is_empty(), "{command:?} prints nothing");
    for field in objects.iter().flat_map(fields) {
        assert!(text.contains(&format!("`{field}`")), "{command:?}: `{field}` is not under {headings:?}");
    }
}

#[test]
fn every_field_is_documented() {
    let place = local();
    place.with(async |broker| {
        declare(&*broker, "default", QueueOptions::default().with_key_limit(1)).await;
        three_dead(&*broker).await;
        enqueue(&*broker, &["run", "parked", "ready"].map(|id| task("default", id))).await;
        let mut claimed = claim(&*broker, "default", 2).await;
        settle(&*broker, claimed.split_off(1), &End::Park).await;
        let keyed = |id| task("default", id).with_key(LimitKey::new("k").unwrap());
        let later = task("default", "later").with_start(Start::After(Duration::from_secs(3600)));
        enqueue(&*broker, &[keyed("keyed"), keyed("held"), later]).await;
        let list = "`tasks list`";
        let looks: [(&[&str], &[&str]); 11] = [
            (&["queues", "list"], &["`queues list`"]),
            (&["tasks", "list"], &[list]),
            (&["tasks", "show", "run"], &[list, "`tasks show`"]),
            (&["tasks", "why", "run"], &["`tasks why`"]),
            (&["tasks", "why", "ready"], &["`tasks why`"]),
            (&["tasks", "why", "later"], &["`tasks why`"]),
            (&["tasks", "why", "held"], &["`tasks why`"]),
            (&["tasks", "why", "parked"], &["`tasks why`"]),
            (&["tasks", "why", "d1"], &["`tasks why`"]),
            (&["dead", "list"], &["`dead list`"]),
            (&["fsck"], &["`fsck`"]),
        ];
        for (command, headings) in looks {
            compare(command, &place.objects(command), headings);
        }
    });
    place.with(async |broker| {
        let workers = broker.workers().unwrap();
        workers.report(&manyhands_broker::WorkerReport::here()).await.unwrap();
        let id = broker.incarnation().to_string();
        compare(&["workers"], &place.objects(&["workers"]), &["`workers`"]);
        compare(&["workers", "drain"], &place.objects(&["workers", "drain", &id]), &["`workers drain`"]);
    });
    let changes: [(&[&str], &[&str]); 8] = [
        (&["queues", "set", "default", "--capacity", "9"], &["`queues list`"]),
        (&["queues", "pause", "default"], &["`queues pause`"]),
        (&["tasks", "why", "ready"], &["`tasks why`"]),
        (&["queues", "resume", "default"], &["`queues pause`"]),
        (&["tasks", "cancel", "ready", "--yes"], &["`tasks cancel`"]),
        (&["dead", "revive", "d1"], &["`dead revive`"]),
        (&["dead", "purge", "d2", "--yes"], &["`dead revive`"]),
        (&["queues", "purge", "default", "--yes"], &["`queues purge`"]),
    ];
    for (command, headings) in changes {
        compare(command, &place.objects(command), headings);
    }
    let purged = ["dead", "purge", "--all", "--yes"];
    compare(&purged, &place.objects(&purged), &["`dead revive`"]);
    compare(&["config"], &place.objects(&["config"]), &["`config`"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lines");
    std::fs::write(&file, "1\n{\n").unwrap();
    let (code, out, said) = place.run(&["feed", "work", file.to_str().unwrap(), "--json"]);
    assert_eq!(code, Some(4), "{said}");
    compare(&["feed"], &[serde_json::from_str(&out).unwrap()], &["`feed`"]);
    let rejected = std::fs::read_to_string(folder.path().join("lines.rejected")).unwrap();
    compare(&["feed", "rejected"], &[serde_json::from_str(rejected.trim()).unwrap()], &["`feed`"]);
}
