//! Children that die, and the one task that is charged for it.

use manyhands::{QueueName, TaskId};
use serde_json::json;

use super::programs::Place;

/// Says who it is and what it ran before; `dies` names who kills it.
const MORTAL: &str = r##"
import json, os, signal, sys
print(json.dumps({"hello": 1, "tasks": ["mortal"], "ahead": AHEAD}), flush=True)
ran = 0
for line in sys.stdin:
    task = json.loads(line)
    do = task["payload"]["do"]
    with open("runs", "a") as f: f.write(f"{task['payload'].get('n', 0)} {os.getpid()} {ran} {do}\n")
    ran += 1
    if do == "abort": print("the end is near", file=sys.stderr, flush=True); os.abort()
    if do == "once" and not os.path.exists("died"): open("died", "w"); os.kill(os.getpid(), signal.SIGKILL)
    if do == "exit": os._exit(0)
    if do == "eat": hog = bytearray(400 * 1024 * 1024); signal.pause()
    if do == "grandchild":
        import subprocess
        subprocess.run([sys.executable, "-c", "import signal; hog = bytearray(400 * 1024 * 1024); signal.pause()"])
    print(json.dumps({"id": task["id"], "result": ran}), flush=True)
"##;

fn mortal(processes: usize, ahead: usize, more: &str) -> Place {
    let place = Place::with(&format!(
        "[tasks.mortal]\nprocess = [\"python3\", \"mortal.py\"]\nprocesses = {processes}\n{more}"
    ));
    place.write("mortal.py", MORTAL.replace("AHEAD", &ahead.to_string()));
    place
}

/// What a task is charged with, and why it is dead: attempts, crashes, error.
fn charges(place: &Place, id: &str) -> (u32, u32, String) {
    let (queue, id) = (QueueName::new("default").unwrap(), TaskId::new(id).unwrap());
    place.look(|broker| async move {
        let info = broker.lookup().unwrap().get(&queue, &id).await.unwrap().unwrap().info;
        (info.attempts, info.crashes, info.error.unwrap_or_default())
    })
}

/// The runs of the handler, in order: which task, in which process, how many before it there, and what.
fn runs(place: &Place) -> Vec<(u32, u32, u32, String)> {
    let text = std::fs::read_to_string(place.path("runs")).unwrap_or_default();
    let run = |line: &str| {
        let parts: Vec<_> = line.split(' ').collect();
        let number = |at: usize| parts[at].parse::<u32>().unwrap();
        (number(0), number(1), number(2), parts[3].to_owned())
    };
    text.lines().map(run).collect()
}

#[test]
fn three_crashes_make_a_task_dead_and_say_why() {
    let place = mortal(1, 0, "memory_limit = \"200MiB\"\n");
    let worker = place.worker(&[]);
    for (what, why) in [
        ("abort", "killed by signal 6 (SIGABRT), peak memory "),
        ("exit", "exit code 0, peak memory "),
        ("eat", "of memory, more than its limit of 200.0 MiB, and was killed"),
        ("grandchild", "of memory, more than its limit of 200.0 MiB, and was killed"),
    ] {
        let payload = json!({ "do": what }).to_string();
        let (code, _, said) =
            place.run("producer", &["send", "mortal", &payload, "--id", what, "--wait", "50s"]);
        assert_eq!(code, Some(1), "{what}: {said}");
        let (attempts, crashes, error) = charges(&place, what);
        assert_eq!((attempts, crashes), (0, 3), "{what}: {error}");
        assert!(error.starts_with("crash 3 of 3: ") && error.contains(why), "{what}: {error}");
        if what == "abort" {
            assert!(error.ends_with("MiB: the end is near"), "{error}");
        }
    }
    assert_eq!(place.ask("mortal", r#"{"do": "well"}"#).0, Some(0));
    assert_eq!(worker.stop().0, Some(0));
    place.fsck();
}

/// After its first crash a task runs in a child that ran nothing before and runs nothing after.
#[test]
fn a_task_that_crashed_runs_alone_next_time() {
    let place = mortal(2, 0, "");
    let worker = place.worker(&[]);
    let sent = ["send", "mortal", r#"{"do": "once", "n": 7}"#, "--id", "once", "--keep-result", "1h"];
    place.run("producer", &sent);
    // Its neighbours keep both children in use.
    for n in 100..130 {
        assert_eq!(place.ask("mortal", &json!({ "do": "well", "n": n }).to_string()).0, Some(0));
    }
    let once = place.run("producer", &["send", "mortal", "1", "--id", "once", "--wait", "50s"]);
    assert_eq!(once.0, Some(0), "{}", once.2);
    for n in 200..204 {
        assert_eq!(place.ask("mortal", &json!({ "do": "well", "n": n }).to_string()).0, Some(0));
    }
    let runs = runs(&place);
    let of_it: Vec<_> = runs.iter().filter(|run| run.0 == 7).collect();
    assert_eq!(of_it.len(), 2, "{runs:?}");
    let (_, pid, before, _) = of_it[1];
    assert_eq!(*before, 0, "a child that ran something before");
    assert_eq!(runs.iter().filter(|run| run.1 == *pid).count(), 1, "it is used for nothing else: {runs:?}");
    assert_eq!(worker.stop().0, Some(0));
    place.fsck();
}

/// What a child was given ahead of its time and had not begun when it died is not charged.
#[test]
fn what_was_given_ahead_is_innocent() {
    let place = mortal(1, 8, "");
    for n in 0..40 {
        let what = if n % 10 == 3 { "abort" } else { "well" };
        let payload = json!({ "do": what, "n": n }).to_string();
        place.run(
            "producer",
            &[
                "send",
                "mortal",
                &payload,
                "--id",
                &n.to_string(),
                "--max-crashes",
                "1",
                "--keep-result",
                "1h",
            ],
        );
    }
    let worker = place.worker(&[]);
    for n in 0..40 {
        let sent = place.run("producer", &["send", "mortal", "1", "--id", &n.to_string(), "--wait", "50s"]);
        let dead = n % 10 == 3;
        assert_eq!(sent.0, Some(i32::from(dead)), "{n}: {}", sent.2);
        if dead {
            assert_eq!((charges(&place, &n.to_string()).0, charges(&place, &n.to_string()).1), (0, 1));
        }
    }
    let mut ran: Vec<_> = runs(&place).into_iter().map(|run| run.0).collect();
    ran.sort_unstable();
    assert_eq!(ran, (0..40).collect::<Vec<_>>(), "each once, as none that had not begun was begun");
    assert!(runs(&place).iter().any(|run| run.2 > 2), "one child ran several");
    assert_eq!(worker.stop().0, Some(0));
    place.fsck();
}

#[test]
fn one_poison_among_a_thousand() {
    let place = mortal(4, 4, "");
    place.write(
        "payloads",
        (0..1000)
            .map(|n| json!({ "do": if n == 500 { "abort" } else { "well" }, "n": n }).to_string() + "\n")
            .collect::<String>(),
    );
    let (code, _, said) = place.run("producer", &["feed", "mortal", "payloads"]);
    assert_eq!(code, Some(0), "{said}");
    let worker = place.worker(&[]);
    let queue = QueueName::new("default").unwrap();
    place.look(|broker| async move {
        loop {
            let hint = broker.wait_for(manyhands::Interest::Any, std::slice::from_ref(&queue));
            let status = broker.status(&queue).await.unwrap().unwrap();
            if status.unsettled() == 0 {
                break assert_eq!(status.dead, 1);
            }
            let _ = tokio::time::timeout(std::time::Duration::from_secs(1), hint).await;
        }
    });
    let runs = runs(&place);
    let of = |poison: bool| runs.iter().filter(|run| (run.0 == 500) == poison).count();
    assert_eq!((of(false), of(true)), (999, 3), "each that is well ran once, the poison three times");
    let (code, said) = worker.stop();
    assert!(code == Some(0) && said.matches("the task's process crashed").count() == 3, "{said}");
    place.fsck();
}
