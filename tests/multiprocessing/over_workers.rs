//! Pools whose calls are done by workers of a broker.

use std::{
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use manyhands::{
    Broker, ErrorKind, NewTask, Payload, QueueName, QueueOptions, TaskName,
    multiprocessing::{CallError, OnCrash, Pool},
};
use manyhands_test_support::{
    kill,
    servers::{RabbitMq, Redis},
};

use crate::{
    ROLE,
    functions::{killed_by, lines, note, picky, refuse, square, until, wait_for},
    pools::{all_calls, large_text, slow_and_quick},
    programs::{PATIENCE, Place},
};

/// A worker of this program, which ends with this.
struct Worker(Child);

impl Worker {
    fn start(place: &Place, url: &str, more: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--broker", url, "--queues", "pool", "--quiet"]).args(more);
        command.env(ROLE, "worker").current_dir(place.path("")).stdin(Stdio::null());
        for name in ["MANYHANDS_BROKER", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
            command.env_remove(name);
        }
        Self(command.spawn().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn broker(url: &str) -> (tokio::runtime::Runtime, Arc<dyn Broker>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let broker = runtime.block_on(manyhands::connect(&url.parse().unwrap())).unwrap();
    (runtime, broker)
}

/// All calls, by two workers.
fn the_same_calls(url: &str) {
    let place = Place::new();
    let _workers = [Worker::start(&place, url, &[]), Worker::start(&place, url, &[])];
    let pool = Pool::connect(&url.parse().unwrap()).unwrap();
    all_calls(&pool);
    for chunk in [1, 7] {
        let results: Vec<_> = pool.imap_chunked(picky, 0..30, chunk).collect();
        for (n, result) in (0..30).zip(&results) {
            assert_eq!(result.as_ref().ok(), (n % 10 != 7).then_some(&n), "{results:?}");
        }
    }
    let error = pool.apply(refuse, ("no luck".to_owned(),)).unwrap_err();
    assert!(matches!(&error, CallError::Panicked(words) if words.contains("no luck")), "{error}");
    // Chunks that nobody chose are made to fit into a task, and one that is too large is told.
    let texts: Vec<String> = (0..30).map(|n| n.to_string().repeat(100_000)).collect();
    let lengths: Vec<_> = texts.iter().map(String::len).collect();
    assert_eq!(pool.map(large_text, texts.clone()).unwrap(), lengths);
    let error = pool.map_chunked(large_text, texts, 30).unwrap_err();
    assert!(error.to_string().contains("bytes of arguments: at most 1048576"), "{error}");
    pool.close();
    pool.join().unwrap();
    // Nothing is left on the queue.
    let (runtime, broker) = broker(url);
    let status = runtime.block_on(broker.status(&QueueName::new("pool").unwrap())).unwrap().unwrap();
    assert_eq!((status.unsettled(), status.dead), (0, 0));
}

pub(crate) fn the_same_calls_over_the_store_of_one_box() {
    the_same_calls(&Place::new().url());
}

pub(crate) fn the_same_calls_over_redis() {
    let redis = Redis::options().append_only().start().unwrap();
    the_same_calls(&redis.url());
}

pub(crate) fn the_same_calls_over_rabbitmq() {
    let rabbitmq = RabbitMq::shared_url().unwrap();
    the_same_calls(&format!("{rabbitmq}?namespace=pool-{}", std::process::id()));
}

pub(crate) fn a_worker_that_is_killed_costs_nothing() {
    let place = Place::new();
    let url = place.url();
    let mut workers = vec![Worker::start(&place, &url, &[]), Worker::start(&place, &url, &[])];
    let pool = Pool::connect(&url.parse().unwrap()).unwrap();
    let mut results = Vec::new();
    for (n, result) in pool.imap(square, 0..20_000_u64).enumerate() {
        results.push(result.unwrap());
        if n % 5000 == 2500 {
            // At once, with whatever it holds.
            kill::kill(workers[0].0.id()).unwrap();
            workers.remove(0);
            workers.push(Worker::start(&place, &url, &[]));
        }
    }
    assert_eq!(results, (0..20_000).map(|n| n * n).collect::<Vec<_>>());
}

pub(crate) fn a_call_that_kills_workers_is_told() {
    let place = Place::new();
    let (url, file) = (place.url(), place.path("runs"));
    // Started again and again, as a supervisor does.
    let _worker = Worker::start(&place, &url, &["--processes", "2"]);
    let pool =
        Pool::builder().on_crash(OnCrash::Rerun { max_crashes: 1 }).connect(&url.parse().unwrap()).unwrap();
    let results: Vec<_> = (0..20).map(|n| pool.apply_async(killed_by, (n, 11, file.clone()))).collect();
    for (n, result) in (0..).zip(results) {
        match result.get() {
            Ok(result) => assert_eq!((result, n != 11), (n, true)),
            Err(CallError::Crashed { crashes, exit: None, how }) => {
                assert_eq!(n, 11);
                assert!(crashes >= 1 && how.contains("processes died"), "{crashes} {how}");
            }
            Err(other) => panic!("call {n}: {other}"),
        }
    }
}

pub(crate) fn nobody_who_does_the_calls_is_told() {
    let place = Place::new();
    let url = place.url();
    let impatient =
        || Pool::builder().patience(Duration::from_millis(500)).connect(&url.parse().unwrap()).unwrap();
    let error = impatient().apply(square, (1,)).unwrap_err();
    assert!(error.to_string().contains("no worker serves queue \"pool\""), "{error}");
    // All of a call at once, however many more stand in line than are sent at a time.
    let calls = impatient();
    let error = calls.map_chunked(square, 0..50_000, 1).unwrap_err();
    assert!(error.to_string().contains("no worker serves queue \"pool\""), "{error}");
    let (runtime, broker) = broker(&url);
    let queue = QueueName::new("pool").unwrap();
    let sent = runtime.block_on(broker.status(&queue)).unwrap().unwrap().sequence;
    assert!(sent.is_some_and(|sent| sent <= 1 + 2048), "{sent:?} were sent for nobody");
    // What nobody did is taken back.
    let unsettled = || runtime.block_on(broker.status(&queue)).unwrap().unwrap().unsettled();
    until(|| unsettled() == 0);

    // A worker that has other functions.
    let other = Command::new(env!("CARGO_BIN_EXE_worker"))
        .args(["--broker", &url, "--queues", "pool", "--quiet", "--config"])
        .arg(place.write("other.toml", "[tasks.other]\nqueue = \"pool\"\ncommand = [\"true\"]\n"))
        .stdin(Stdio::null())
        .spawn();
    let _other = Worker(other.unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    until(|| !runtime.block_on(broker.workers().unwrap().live(None, 10)).unwrap().is_empty());
    let error = impatient().apply(square, (1,)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no worker of queue \"pool\" has the function multiprocessing.functions.square"),
        "{error}"
    );

    // What such a pool cannot have.
    for (builder, words) in [
        (Pool::builder().initializer(note, (1, place.path("x"))), "initializer"),
        (Pool::builder().processes(2), "number of processes"),
        (Pool::builder().max_tasks_per_child(1), "number of tasks"),
        (Pool::builder().on_crash(OnCrash::Fail), "OnCrash::Fail"),
    ] {
        let error = builder.connect(&url.parse().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.report().contains(words), "{}", error.report());
    }
    let error = Pool::builder().queue("other").build().unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.report().contains("no queue"), "{}", error.report());
    let error = Pool::connect(&"redis://127.0.0.1:1".parse().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

pub(crate) fn quick_calls_do_not_wait_for_a_slow_worker() {
    let place = Place::new();
    let url = place.url();
    let _workers = [
        Worker::start(&place, &url, &["--concurrency", "1"]),
        Worker::start(&place, &url, &["--concurrency", "1"]),
    ];
    let pool = Pool::connect(&url.parse().unwrap()).unwrap();
    slow_and_quick(&pool, 500);
}

pub(crate) fn a_pool_that_is_terminated_takes_its_calls_back() {
    let place = Place::new();
    let url = place.url();
    let _worker = Worker::start(&place, &url, &["--concurrency", "1"]);
    let pool = Pool::connect(&url.parse().unwrap()).unwrap();
    let file = place.path("runs");
    let first = pool.apply_async(wait_for, (0, Some(place.path("go"))));
    let others: Vec<_> = (1..300).map(|n| pool.apply_async(note, (n, file.clone()))).collect();
    let (runtime, broker) = broker(&url);
    let queue = QueueName::new("pool").unwrap();
    let unsettled =
        || runtime.block_on(broker.status(&queue)).unwrap().map_or(0, |status| status.unsettled());
    until(|| unsettled() == 300 || !lines(&file).is_empty());
    pool.terminate();
    pool.join().unwrap();
    assert!(matches!(first.get(), Err(CallError::Terminated)));
    for result in others {
        assert!(matches!(result.get(), Ok(_) | Err(CallError::Terminated)));
    }
    place.write("go", "");
    until(|| unsettled() == 0);
}

pub(crate) fn a_full_queue_that_nobody_empties_is_told() {
    let place = Place::new();
    let url = place.url();
    let (runtime, broker) = broker(&url);
    let queue = QueueName::new("pool").unwrap();
    runtime.block_on(broker.declare(&queue, Some(&QueueOptions::default().with_capacity(1)))).unwrap();
    let name = TaskName::new("of-others").unwrap();
    let task = NewTask::new(queue, name, Payload::null());
    runtime.block_on(broker.enqueue(&[task], None)).unwrap();
    let patience = Duration::from_millis(500);
    let pool = Pool::builder().patience(patience).connect(&url.parse().unwrap()).unwrap();
    let error = pool.map_chunked(square, 0..1000, 1).unwrap_err();
    assert!(error.to_string().contains("no worker serves queue \"pool\""), "{error}");
}

pub(crate) fn a_server_that_is_gone_is_told() {
    let redis = Redis::options().append_only().start().unwrap();
    let patience = Duration::from_millis(500);
    let pool = Pool::builder().patience(patience).connect(&redis.url().parse().unwrap()).unwrap();
    drop(redis);
    // Not once for each of what is sent at a time.
    let calls = pool.starmap_async(square, (0..100_000).map(|n| (n,)), Some(1));
    assert!(calls.wait(PATIENCE), "it is tried again and again");
    let error = calls.get().unwrap_err();
    assert!(matches!(&error, CallError::Failed(error) if error.kind() == ErrorKind::Unavailable), "{error}");
    pool.close();
    pool.join().unwrap();
}
