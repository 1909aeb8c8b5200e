//! `worker --autoscale MIN..MAX`: a burst is drained by more worker processes, and when it is over they drain.

use std::time::{Duration, Instant};

use manyhands::{NewTask, Payload, QueueName, QueueOptions, TaskName};
use manyhands_test_support::servers::{RabbitMq, Redis};
use serde_json::Value;

use super::{
    all_ready, processes,
    programs::{PATIENCE, Place, Worker},
    supervisor,
};

/// How many tasks come a second before the burst and after it, and how many times as many in it, for so many seconds.
const RATE: u64 = 3;
const BURST: u64 = 20;
const SECONDS: u64 = 10;

/// What is written down by each task.
const WORK: &str =
    "[tasks.work]\ncommand = [\"sh\", \"-c\", \"echo {n} >>ledger; sleep 0.15\"]\nprocesses = 2\n";

/// Sends tasks at a rate, then twenty times as many, then at the rate again until nothing waits. Tells how many, and how old the oldest
/// ready task was each second, as `manyhands workers wanted` would tell.
fn burst(url: &str) -> (usize, Vec<u64>) {
    use manyhands_worker::autoscale::{Sample, Watch};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = manyhands::Client::connect(&url.parse().unwrap()).await.unwrap();
        let queue = QueueName::new("default").unwrap();
        let (mut watch, mut ages, mut sent) = (Watch::default(), Vec::new(), 0);
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        let began = Instant::now();
        for second in 0.. {
            ticks.tick().await;
            let come = if (3..3 + SECONDS).contains(&second) { BURST * RATE } else { RATE };
            for _ in 0..come {
                let payload = Payload::encode(&serde_json::json!({ "n": sent })).unwrap();
                let mut task = NewTask::new(queue.clone(), TaskName::new("work").unwrap(), payload);
                task.max_attempts = 1;
                client.send_task(task).await.unwrap();
                sent += 1;
            }
            let sample = Sample::take(&**client.broker(), std::slice::from_ref(&queue)).await.unwrap();
            ages.push(watch.add(Instant::now(), &sample).oldest.as_secs());
            let status = client.broker().status(&queue).await.unwrap().unwrap();
            assert_eq!(status.dead, 0, "one failed");
            if second > 3 + SECONDS && status.ready == 0 {
                return (sent, ages);
            }
            assert!(began.elapsed() < PATIENCE, "it is not drained: {ages:?}");
        }
        unreachable!("it is drained, or fails")
    })
}

fn drained(url: &str, most: usize) {
    let place = Place::with(WORK);
    let mut command = place.program("worker");
    let bounds = format!("1..{most}");
    let mut worker = Worker::start(command.args(["-v", "--autoscale", &bounds]).env("MANYHANDS_BROKER", url));
    all_ready(&mut worker, 1);
    let (sent, ages) = burst(url);
    worker.says(&format!("{most} worker processes instead of "));
    worker.says("1 worker process instead of ");
    let patience = Instant::now() + PATIENCE;
    while processes(&worker).len() > 1 {
        assert!(Instant::now() < patience, "{:?}", processes(&worker));
    }
    let (code, said) = worker.stop();
    assert_eq!(code, Some(0), "{said}");
    let ledger = place.told("ledger");
    let mut done: Vec<usize> = ledger.lines().map(|line| line.parse().unwrap()).collect();
    done.sort_unstable();
    assert_eq!(done, (0..sent).collect::<Vec<_>>(), "each once: none was lost, and none given back: {said}");
    assert!(!said.contains("nobody told it to"), "{said}");
    println!("{}: {sent} tasks, the oldest ready one each second: {ages:?}", url.split(':').next().unwrap());
}

/// All brokers at a time: they mostly wait. RabbitMQ counts nothing that comes, so more come there when more wait than there are slots.
#[test]
fn a_burst_is_drained() {
    let (store, redis) = (tempfile::tempdir().unwrap(), Redis::start().unwrap());
    let (local, redis) = (format!("local:{}", store.path().display()), redis.url());
    let rabbitmq = RabbitMq::shared_url().unwrap();
    let rabbitmq = format!("{rabbitmq}?namespace=autoscale-{}", std::process::id());
    std::thread::scope(|scope| {
        for url in [&local, &redis, &rabbitmq] {
            scope.spawn(|| drained(url, 4));
        }
    });
}

#[test]
fn bounds_that_are_none_are_refused() {
    let cases: [(&str, &[&str], &str); 6] = [
        (
            "",
            &["--autoscale", "4"],
            "\"4\" is no MIN..MAX: write two whole numbers from 1 to 512, as in 1..4",
        ),
        ("", &["--autoscale", "0..4"], "\"0..4\" is no MIN..MAX"),
        ("", &["--autoscale", "5..4"], "the fewest, 5, are more than the most, 4"),
        ("", &["--autoscale", "1..513"], "the most are 513"),
        ("", &["--autoscale", "1..4", "--processes", "5"], "5 worker processes are not within 1..4"),
        ("[worker]\nautoscale = \"many\"\n", &[], "worker.autoscale: \"many\" is no MIN..MAX"),
    ];
    for (text, args, why) in cases {
        let place = Place::with(&format!("{text}{WORK}"));
        let (code, out, said) = place.run("worker", args);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{said}");
        assert!(said.contains(why), "{said}");
    }
}

/// The same number, for whoever starts workers by other means.
#[test]
fn the_number_is_printed_for_others() {
    let place = Place::with(
        "[tasks.waits]\ncommand = [\"sh\", \"-c\", \"until test -e go; do sleep 0.05; done\"]\nprocesses = 1\n",
    );
    let wanted = |args: &[&str]| {
        let (code, out, said) = place.run("manyhands", &[&["workers", "wanted"], args].concat());
        assert_eq!(code, Some(0), "{said}");
        out
    };
    let queue = QueueName::new("default").unwrap();
    place.look(|broker| async move { broker.declare(&queue, Some(&QueueOptions::default())).await.unwrap() });
    assert_eq!(wanted(&["--within", "1ms"]), "0\n", "nothing is to be done");
    assert_eq!(wanted(&["--within", "1ms", "--min", "2"]), "2\n");
    place.run("producer", &["send", "waits"]);
    assert_eq!(wanted(&["--within", "1ms"]), "1\n", "something, and there is nobody");
    let mut worker = supervisor(&place, 1);
    all_ready(&mut worker, 1);
    while place.live_workers().is_empty() {}
    (0..30).for_each(|_| drop(place.run("producer", &["send", "waits"])));
    let line = wanted(&["--json", "--max", "4", "--queues", "default"]);
    let told: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&told["wanted"], &told["now"], &told["slots"]), (&4.into(), &1.into(), &1.into()), "{line}");
    assert_eq!((&told["ready"], &told["leased"]), (&30.into(), &1.into()), "{line}");
    assert!(told["oldest_ready_ms"].as_u64().unwrap() >= 1000, "{line}");
    assert_eq!(
        (&told["arrivals_per_second"], &told["claims_per_second"]),
        (&0.0.into(), &0.0.into()),
        "{line}"
    );
    let fields: Vec<_> = told.as_object().unwrap().keys().collect();
    let page = include_str!("../../docs/commands.md");
    let chapter = page.split("\n## `workers wanted`").nth(1).unwrap().split("\n## ").next().unwrap();
    assert!(fields.iter().all(|field| chapter.contains(&format!("`{field}`"))), "{fields:?}");
    let (code, _, said) = place.run("manyhands", &["workers", "wanted", "--min", "3", "--max", "2"]);
    assert!(code == Some(2) && said.contains("the fewest, 3, are more than the most, 2"), "{said}");
    place.write("go", "");
    assert_eq!(worker.stop().0, Some(0));
}
