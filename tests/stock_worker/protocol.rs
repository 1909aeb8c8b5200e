//! All that a warm handler can say, in a handler that says it.

use manyhands::{QueueName, TaskId};
use manyhands_broker::{Standing, State};
use manyhands_test_support::servers::{RabbitMq, Redis};
use serde_json::{Value, json};

use super::programs::Place;

/// Says what the payload tells it to, in the order of the list; what has no id gets that of the task.
const SPEAKER: &str = r##"
import json, sys, time
print(json.dumps({"hello": 1, "tasks": ["speak"]}), flush=True)
heard = None
for line in sys.stdin:
    task = json.loads(line)
    for message in task["payload"]:
        if message == "attempt": message = {"result": task["attempt"]}
        if message == "fields": message = {"result": line}
        if message == "listen": heard = json.loads(sys.stdin.readline()); continue
        if message == "heard": message = {"result": heard}
        if message == "wait": open("waits", "w").write("yes\n"); time.sleep(1000)
        if isinstance(message, dict) and "retry_at" in message: message["retry_at"] += time.time() * 1000
        if isinstance(message, str): print(message, flush=True); continue
        if "log" not in message: message = {"id": task["id"], **message}
        print(json.dumps(message), flush=True)
"##;

fn speaker(more: &str) -> Place {
    let place = Place::with(&format!(
        "[tasks.speak]\nprocess = [\"python3\", \"speak.py\"]\nprocesses = 1\n{more}[tasks.next]\nqueue = \"later\"\n"
    ));
    place.write("speak.py", SPEAKER);
    place
}

fn ask(place: &Place, say: Value) -> (Option<i32>, String) {
    place.ask("speak", &say.to_string())
}

/// What waits in a queue: names and payloads, in order.
fn waiting(place: &Place, queue: &str) -> Vec<(String, String)> {
    let queue = QueueName::new(queue).unwrap();
    place.look(|broker| async move {
        let lookup = broker.lookup().unwrap();
        let mut found = Vec::new();
        for task in lookup.list(&queue, State::Ready, None, 100).await.unwrap().tasks {
            let detail = lookup.get(&queue, &task.id).await.unwrap().unwrap();
            found.push((task.name.to_string(), detail.payload.as_str().to_owned()));
        }
        found
    })
}

#[test]
fn tasks_are_handed_on_with_the_settlement() {
    let place = speaker("");
    let worker = place.worker(&[]);
    let (code, said) = ask(
        &place,
        json!([
            {"then": [{"task": "next", "payload": {"n": 1}}]},
            {"result": "done", "then": [{"task": "next", "payload": 2, "id": "two"}, {"task": "other"}]}
        ]),
    );
    assert_eq!((code, said.as_str()), (Some(0), "\"done\"\n"));
    let next = |payload: &str| ("next".to_owned(), payload.to_owned());
    assert_eq!(
        waiting(&place, "later"),
        [next("{\"n\": 1}"), next("2")],
        "where the configuration sends them"
    );
    // Its own worker has no handler for the other one, which is parked.
    let parked = place.status("default");
    assert_eq!((parked.scheduled, parked.dead), (1, 0));
    // A handler that fails hands nothing on.
    ask(&place, json!([{"then": [{"task": "next", "payload": 3}]}, {"error": "no"}]));
    assert_eq!(waiting(&place, "later").len(), 2);
    for (say, why) in [
        (json!([{"result": 1, "then": [{"task": "next", "delay": 5}]}]), "unknown field `delay`"),
        (json!([{"result": 1, "then": [{"task": "a b"}]}]), "a task that it hands on is wrong"),
        (json!([{"then": [{"task": "a b"}]}, "wait"]), "a task that it hands on is wrong"),
        (json!([{"result": 1, "then": vec![json!({"task": "next"}); 257]}]), "at most 256 tasks"),
    ] {
        let (code, said) = ask(&place, say);
        assert!(code == Some(1) && said.contains(why), "{said}");
        assert_eq!(ask(&place, json!([{"result": "well"}])).0, Some(0), "after: {why}");
    }
    assert_eq!(waiting(&place, "later").len(), 2);
    assert_eq!(worker.stop().0, Some(0));
    place.fsck();
}

#[test]
fn a_handler_says_when_it_is_tried_again() {
    let place = speaker("");
    let worker = place.worker(&[]);
    for (n, failure) in [
        json!({"error": "later", "retry_in_ms": 3_600_000}),
        json!({"error": "later", "retry_at": 3_600_000.5}),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("task-{n}");
        place.run("producer", &["send", "speak", &json!([failure]).to_string(), "--id", &id]);
        let due = place.look(|broker| async move {
            let (queue, id) = (QueueName::new("default").unwrap(), TaskId::new(&id).unwrap());
            loop {
                let found = broker.lookup().unwrap().get(&queue, &id).await.unwrap().unwrap();
                match found.info.standing {
                    Standing::Scheduled { due, .. } if found.info.attempts == 1 => return due,
                    // Nothing tells of a failure that is no end.
                    _ => tokio::task::yield_now().await,
                }
            }
        });
        let left = due.duration_since(std::time::SystemTime::now()).unwrap().as_secs();
        assert!((3000..=3600).contains(&left), "{left}");
    }
    let buried = ask(&place, json!([{"error": "never", "then": "bury"}]));
    assert!(buried.0 == Some(1) && buried.1.contains("is dead: never"), "{}", buried.1);
    assert_eq!(worker.stop().0, Some(0));
}

#[test]
fn progress_is_told_while_it_runs() {
    let place = speaker("");
    let mut worker = place.worker(&[]);
    let payload = json!([{"progress": "x".repeat(5000)}, {"progress": {"done": 7, "of": 9}}, "wait"]);
    place.run("producer", &["send", "speak", &payload.to_string(), "--id", "a"]);
    worker.says("its progress is not told: the progress has 5002 bytes");
    let (queue, id) = (QueueName::new("default").unwrap(), TaskId::new("a").unwrap());
    let told = place.look(|broker| async move {
        loop {
            let progress = broker.lookup().unwrap().get(&queue, &id).await.unwrap().unwrap().progress;
            if let Some(progress) = progress {
                break progress;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(told.as_str(), r#"{"done": 7, "of": 9}"#);
}

#[test]
fn what_is_for_the_log_is_in_the_log() {
    let place = speaker("");
    let mut worker = place.worker(&[]);
    let say =
        json!([{"log": "low \u{1b}[31m water", "level": "warn", "id": "abc"}, {"log": "aha"}, {"result": 1}]);
    assert_eq!(ask(&place, say).0, Some(0));
    let line = worker.says("low \\u{1b}[31m water");
    assert!(line.contains("WARN") && line.contains("id=\"abc\"") && line.contains("task=speak"), "{line}");
    assert!(worker.says("aha").contains("INFO"));
    let (_, said) = ask(&place, json!([{"log": "aha", "level": "loud"}]));
    assert!(said.contains("there are error, warn, info and debug"), "{said}");
}

#[test]
fn a_handler_enqueues_and_hears_what_became_of_it() {
    let place = speaker("[queues.later]\ncapacity = 2\n");
    let worker = place.worker(&["--queues", "default,later"]);
    let put = |number: u64, task: Value| json!([{"put": number, "task": task}, "listen", "heard"]);
    let heard = |say: Value| serde_json::from_str::<Value>(&ask(&place, say).1).unwrap();
    let task = json!({"task": "nobody", "id": "n", "queue": "third"});
    assert_eq!(heard(put(7, task.clone())), json!({"put": 7, "answer": "enqueued"}));
    assert_eq!(heard(put(8, task)), json!({"put": 8, "answer": "exists"}));
    let refused = heard(put(9, json!({"task": "a b"})));
    assert!(refused["then"] == "bury" && refused["error"].as_str().unwrap().contains("a b"), "{refused}");
    let one = json!({"task": "nobody", "queue": "third", "unique": "u", "id": "holder"});
    assert_eq!(heard(put(1, one))["answer"], "enqueued");
    let two = json!({"task": "nobody", "queue": "third", "unique": "u"});
    assert_eq!(heard(put(2, two)), json!({"put": 2, "answer": "duplicate", "holder": "holder"}));
    // It waits for the answer before it asks again.
    let hasty = json!([
        {"put": 1, "task": {"task": "t", "queue": "third"}},
        {"put": 2, "task": {"task": "t", "queue": "third"}},
        "listen", "listen", {"result": 1}
    ]);
    let (code, said) = ask(&place, hasty);
    assert!(code == Some(0) || said.contains("before it has the answer for the last one"), "{said}");
    assert_eq!(worker.stop().0, Some(0));
    place.fsck();
}

/// What a shell cuts out is where the documentation says.
#[test]
fn a_task_begins_with_its_id_and_ends_with_its_payload() {
    let place = speaker("run_limit = \"1h\"\n");
    let worker = place.worker(&[]);
    let (code, line) = ask(&place, json!(["fields"]));
    assert_eq!(code, Some(0));
    let line: String = serde_json::from_str(&line).unwrap();
    assert!(line.starts_with("{\"id\":\"") && line.ends_with(",\"payload\":[\"fields\"]}\n"), "{line}");
    let task: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&task["wanted"], &task["run_limit_ms"]), (&json!(true), &json!(3_600_000)));
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let left = i128::from(task["deadline"].as_u64().unwrap()) - i128::try_from(now).unwrap();
    assert!((3_000_000..=3_600_000).contains(&left), "{left}");
    assert!(task.get("batch").is_none());
    assert_eq!(worker.stop().0, Some(0));
}

/// Nothing of it depends on the broker, but for progress, which RabbitMQ cannot tell.
#[test]
fn it_is_the_same_over_servers() {
    let (redis, rabbitmq) = (Redis::options().append_only().start().unwrap(), RabbitMq::start().unwrap());
    for (url, tells) in [(redis.url(), true), (rabbitmq.url(), false)] {
        let place = speaker("");
        let mut worker = place.worker(&["--broker", &url]);
        let say = json!([{"progress": 1}, {"result": 1, "then": [{"task": "speak", "payload": [{"log": "the next"}, {"result": 2}]}]}]);
        let sent =
            place.run("producer", &["send", "speak", &say.to_string(), "--broker", &url, "--wait", "50s"]);
        assert_eq!((sent.0, sent.1.as_str()), (Some(0), "1\n"), "{}", sent.2);
        if !tells {
            worker.says("its progress is not told: rabbitmq");
        }
        worker.says("the next");
        assert_eq!(worker.stop().0, Some(0));
    }
}
