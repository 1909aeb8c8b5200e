//! `manyhands workers`: the list, one worker, health, and draining, over each broker.

use std::{sync::Arc, time::Duration};

use manyhands_broker::{Broker, LastClaim, Request, RunningTask, TaskId, TaskName, WorkerReport};
use manyhands_test_support::servers::RabbitMq;
use serde_json::{Value, json};

use super::support::*;

/// One broker of each kind that several processes can use.
fn all_places() -> Vec<Place> {
    let mut all = places();
    let namespace = format!("workers-{}", std::process::id());
    all.push(Place::at(&format!("{}?namespace={namespace}", RabbitMq::shared_url().unwrap())));
    all
}

/// What a worker tells that runs one task.
fn report() -> WorkerReport {
    let name = TaskName::new("resize").unwrap();
    let mut report = WorkerReport::here();
    report.up = Duration::from_secs(3600);
    report.queues = vec![queue("images")];
    report.handlers = vec![name.clone()];
    (report.slots, report.running) = (4, 1);
    let id = TaskId::new("7").unwrap();
    report.tasks = vec![RunningTask::new(queue("images"), id, name, Duration::from_secs(5))];
    report.last_claim = LastClaim::new(Some(Duration::from_millis(100)), None, false);
    report
}

async fn tell(broker: &Arc<dyn Broker>, report: &WorkerReport) -> Request {
    broker.workers().unwrap().report(report).await.unwrap()
}

/// Runs the command while the sessions of this process can answer for themselves.
async fn answers(place: &Place, args: &[&str]) -> Ended {
    let mut command = place.command(args);
    tokio::task::spawn_blocking(move || ended(&mut command)).await.unwrap()
}

async fn objects(place: &Place, args: &[&str]) -> Vec<Value> {
    let (code, out, said) = answers(place, &[args, &["--json"]].concat()).await;
    assert_eq!((code, said.as_str()), (Some(0), ""), "{args:?}: {out}");
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_a_worker_tells_is_shown() {
    for place in all_places() {
        place.with(async |broker| {
            let none = answers(&place, &["workers"]).await;
            assert_eq!(none, (Some(0), String::new(), "there are no workers\n".to_owned()), "{}", place.url);
            let report = report();
            tell(&broker, &report).await;
            let (id, host, pid) = (broker.incarnation().to_string(), &report.host, report.pid.to_string());
            let (code, table, said) = answers(&place, &["workers"]).await;
            assert_eq!((code, said.as_str()), (Some(0), ""));
            let rows: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
            assert_eq!(rows[0].join(" "), "worker host pid up running last claim queues handlers state");
            assert_eq!(rows[1][..3], [id.as_str(), host.as_str(), pid.as_str()], "{}", place.url);
            assert!(rows[1][3].starts_with("1h") && rows[1][4..].contains(&"images"), "{table}");
            let (_, shown, _) = answers(&place, &["workers", "show", &id[..12]]).await;
            assert!(shown.contains(&format!("{pid} on {host}\n")) && shown.contains("1 of 4\n"), "{shown}");
            assert!(shown.contains("resize 7 on images, for "), "{shown}");
            let list = objects(&place, &["workers", "list"]).await;
            assert_eq!(list.len(), 1);
            assert_eq!(fields(&list[0]), fields(&objects(&place, &["workers", "show", &id]).await[0]));
            let told = |name: &str| &list[0][name];
            assert_eq!(*told("worker"), json!(id));
            assert_eq!((told("slots"), told("running")), (&json!(4), &json!(1)));
            assert_eq!(told("tasks")[0]["id"], json!("7"));
            assert!(told("up_ms").as_u64().unwrap() >= 3_600_000, "{list:?}");
        });
    }
}

#[test]
fn a_worker_is_asked_to_drain_by_the_beginning_of_its_id() {
    for place in all_places() {
        place.with(async |broker| {
            assert_eq!(tell(&broker, &report()).await, Request::Nothing);
            let id = broker.incarnation().to_string();
            let (code, out, said) = answers(&place, &["workers", "drain", &id[..8]]).await;
            assert_eq!((code, said.as_str()), (Some(0), ""), "{}", place.url);
            assert!(out.starts_with(&format!("worker {id}, process ")), "{out}");
            assert!(out.ends_with(": was asked to drain\n"), "{out}");
            assert_eq!(tell(&broker, &report()).await, Request::Drain, "{}", place.url);
            assert_eq!(objects(&place, &["workers"]).await[0]["draining"], json!(true));
            let (code, _, said) = answers(&place, &["workers", "drain", &id, "--wait", "10ms"]).await;
            assert_eq!(code, Some(5), "{said}");
            assert!(said.contains(&format!("still draining after 10ms: {id}")), "{said}");
            // Another one, which ends when it hears that it is to drain.
            let other = place.session().await;
            tell(&other, &report()).await;
            let id = other.incarnation().to_string();
            let wait = ["workers", "drain", &id, "--wait", "1m"];
            let (waited, left) = tokio::join!(answers(&place, &wait), async {
                // Workers hear of it when they tell of themselves, and by nothing else.
                while tell(&other, &report()).await != Request::Drain {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                other.workers().unwrap().leave().await
            });
            left.unwrap();
            assert_eq!(waited.0, Some(0), "{waited:?}");
        });
    }
}

#[test]
fn who_is_not_there_or_not_meant_alone_is_not_asked() {
    let place = local();
    place.with(async |broker| {
        let others = [place.session().await, place.session().await];
        for worker in [&broker, &others[0], &others[1]] {
            tell(worker, &report()).await;
        }
        for nobody in ["zz", "00000000-0000-0000-0000-000000000000"] {
            let (code, _, said) = answers(&place, &["workers", "drain", nobody]).await;
            assert_eq!(code, Some(1), "{said}");
            let wanted = format!("there is no live worker {nobody:?}");
            assert!(said.contains(&wanted) && said.contains("try     manyhands workers"), "{said}");
        }
        let (code, _, said) = answers(&place, &["workers", "drain", ""]).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("more than one worker has an id that begins with"), "{said}");
        // All are found before the first is asked.
        let id = broker.incarnation().to_string();
        assert_eq!(answers(&place, &["workers", "drain", &id, "zz"]).await.0, Some(1));
        for worker in [&broker, &others[0], &others[1]] {
            assert_eq!(tell(worker, &report()).await, Request::Nothing);
        }
    });
}

#[test]
fn a_host_is_well_when_all_its_workers_are() {
    for place in all_places() {
        place.with(async |broker| {
            let check = ["workers", "check", "--within", "1h"];
            let (code, out, said) = answers(&place, &check).await;
            assert_eq!((code, out.as_str()), (Some(1), ""), "{}", place.url);
            assert!(
                said.starts_with("no worker on ") && said.ends_with(" has told of itself for 1h\n"),
                "{said}"
            );
            let (id, mut report) = (broker.incarnation(), report());
            tell(&broker, &report).await;
            let process = format!("worker {id}, process {}", report.pid);
            let well = (Some(0), format!("{process}: well\n"), String::new());
            assert_eq!(answers(&place, &check).await, well, "{}", place.url);
            let elsewhere = answers(&place, &["workers", "check", "--host", "elsewhere"]).await;
            assert_eq!(elsewhere.0, Some(1), "{elsewhere:?}");
            report.last_claim = LastClaim::new(None, Some("gone".to_owned()), false);
            tell(&broker, &report).await;
            let failed = (Some(1), format!("{process}: its last claim failed: gone\n"), String::new());
            assert_eq!(answers(&place, &check).await, failed, "{}", place.url);
            report.last_claim = LastClaim::new(Some(Duration::from_secs(2 * 3600)), None, false);
            tell(&broker, &report).await;
            let (code, out, _) = answers(&place, &check).await;
            assert_eq!(code, Some(1));
            assert!(out.contains("its last claim was answered 2h"), "{out}");
            assert!(out.ends_with(" ago, though it could run more\n"), "{out}");
            assert_eq!(answers(&place, &["workers", "check", "--within", "1d"]).await.0, Some(0));
            let objects = answers(&place, &["workers", "check", "--json"]).await;
            let object: Value = serde_json::from_str(&objects.1).unwrap();
            assert!(
                object["trouble"].as_str().is_some_and(|trouble| trouble.contains("answered 2h")),
                "{object}"
            );
        });
    }
}
