//! Pools of this box.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use manyhands::{
    ErrorKind,
    multiprocessing::{CallError, Pool},
};

use crate::{
    functions::{
        area, divide, have_children, large, lines, not_registered, nothing, picky, pid, refuse, remember,
        remembered, square, wait_for,
    },
    programs::{PATIENCE, Place},
};

/// The same calls, whoever does them.
pub(crate) fn all_calls(pool: &Pool) {
    assert_eq!(pool.apply(square, (7,)).unwrap(), 49);
    assert_eq!(pool.apply(nothing, ()).unwrap(), "nothing was given");
    assert_eq!(pool.apply(divide, (7, 0)).unwrap(), Err("7 cannot be divided by 0".to_owned()));
    let under_way: Vec<_> = (0..50).map(|n| pool.apply_async(square, (n,))).collect();
    let results: Vec<_> = under_way.into_iter().map(|result| result.get().unwrap()).collect();
    assert_eq!(results, (0..50).map(|n| n * n).collect::<Vec<_>>());
    let expected: Vec<u64> = (0..1000).map(|n| n * n).collect();
    assert_eq!(pool.map(square, 0..1000).unwrap(), expected);
    assert_eq!(pool.map_async(square, 0..1000).result().unwrap(), expected);
    assert_eq!(
        pool.starmap(area, (0..9).map(|n| (n, n + 1))).unwrap(),
        (0..9).map(|n| n * (n + 1)).collect::<Vec<_>>()
    );
    assert_eq!(pool.imap(square, 0..1000).collect::<Result<Vec<_>, _>>().unwrap(), expected);
    let mut unordered = pool.imap_unordered(square, 0..1000).collect::<Result<Vec<_>, _>>().unwrap();
    unordered.sort_unstable();
    assert_eq!(unordered, expected);
    assert_eq!(pool.submit(square, (5,)).result().unwrap(), 25);
}

pub(crate) fn every_kind_of_call_gives_its_results() {
    all_calls(&Pool::new(2).unwrap());
}

pub(crate) fn chunks_of_any_size_come_out_in_order() {
    let pool = Pool::new(3).unwrap();
    for count in [0_u64, 1, 2, 3, 25, 5000] {
        let expected: Vec<_> = (0..count).map(|n| n * n).collect();
        assert_eq!(pool.map(square, 0..count).unwrap(), expected);
        for chunk in [0, 1, 2, 7, 10_000] {
            assert_eq!(
                pool.map_chunked(square, 0..count, chunk).unwrap(),
                expected,
                "{count} in chunks of {chunk}"
            );
            let results: Result<Vec<_>, _> = pool.imap_chunked(square, 0..count, chunk).collect();
            assert_eq!(results.unwrap(), expected, "{count} in chunks of {chunk}");
            let results: Result<Vec<_>, _> = pool.imap_unordered_chunked(square, 0..count, chunk).collect();
            let mut results = results.unwrap();
            results.sort_unstable();
            assert_eq!(results, expected, "{count} in chunks of {chunk}");
        }
    }
    // One that is larger than what is given ahead, and than a pipe.
    let text = "ü\"\\\n".repeat(1 << 20);
    let length: usize = text.len();
    assert_eq!(pool.map(large_text, vec![text.clone(), text]).unwrap(), vec![length; 2]);
}

pub(crate) fn large_text(text: String) -> usize {
    text.len()
}

pub(crate) fn callbacks_hear_of_every_end() {
    let pool = Pool::new(2).unwrap();
    let (sender, heard) = mpsc::channel();
    let results: Vec<_> = (0..10)
        .map(|n| {
            let (good, bad, all) = (sender.clone(), sender.clone(), sender.clone());
            pool.apply_async(picky, (n,))
                .callback(move |n| good.send(format!("result {n}")).unwrap())
                .error_callback(move |error| bad.send(format!("error {error}")).unwrap())
                .add_done_callback(move |result| all.send(format!("ended {}", result.is_ok())).unwrap())
        })
        .collect();
    drop(sender);
    let ended: Vec<_> = results.into_iter().map(|result| result.get().is_ok()).collect();
    assert_eq!(ended, (0..10).map(|n| n != 7).collect::<Vec<_>>());
    let heard: Vec<_> = heard.iter().collect();
    assert_eq!(heard.len(), 20, "{heard:?}");
    assert!((0..10).filter(|n| *n != 7).all(|n| heard.contains(&format!("result {n}"))), "{heard:?}");
    assert!(
        heard.iter().any(|line| line.starts_with("error the function panicked: 7 is not liked")),
        "{heard:?}"
    );

    // One that is added late is called all the same, and one that panics harms nobody.
    let (sender, heard) = mpsc::channel();
    let result = pool.apply_async(square, (4,));
    assert!(result.wait(PATIENCE));
    let result =
        result.callback(|_| panic!("this panic is wanted")).callback(move |n| sender.send(*n).unwrap());
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), 16);
    assert_eq!(result.get().unwrap(), 16);
    let map = pool.map_async(square, 0..100).callback(|all| assert_eq!(all.len(), 100));
    assert_eq!(map.get().unwrap().len(), 100);
}

pub(crate) fn a_result_can_be_awaited_and_waited_for() {
    let (place, pool) = (Place::new(), Pool::new(1).unwrap());
    let mut result = pool.apply_async(wait_for, (1, Some(place.path("go"))));
    assert!(!result.ready() && result.successful().is_none());
    let error = result.get_timeout(Duration::from_millis(10)).unwrap_err();
    assert!(matches!(error, CallError::TimedOut(_)), "{error}");
    let mut later = pool.imap(square, 0..3);
    let error = later.next_timeout(Duration::from_millis(10)).unwrap().unwrap_err();
    assert!(matches!(error, CallError::TimedOut(_)), "{error}");
    place.write("go", "");
    assert_eq!(result.get_timeout(PATIENCE).unwrap(), 1);
    assert!(matches!(result.get_timeout(PATIENCE), Err(CallError::Taken)));
    let (sender, heard) = mpsc::channel();
    let result = result.error_callback(move |error| sender.send(error.to_string()).unwrap());
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), "the result was taken before");
    assert!(matches!(result.get(), Err(CallError::Taken)));
    assert_eq!(later.collect::<Result<Vec<_>, _>>().unwrap(), [0, 1, 4]);

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        assert_eq!(pool.apply_async(square, (9,)).await.unwrap(), 81);
        assert!(matches!(pool.apply_async(picky, (7,)).await, Err(CallError::Panicked(_))));
    });
}

pub(crate) fn a_panic_fails_its_call_alone() {
    let pool = Pool::new(2).unwrap();
    let error = pool.apply(refuse, ("no \"luck\"".to_owned(),)).unwrap_err();
    let CallError::Panicked(words) = &error else { panic!("{error}") };
    assert!(words.starts_with("no \"luck\" (") && words.contains("functions.rs:"), "{words}");
    // Alone, and beside others in a chunk.
    for chunk in [1, 5, 100] {
        let results: Vec<_> = pool.imap_chunked(picky, 0..30, chunk).collect();
        for (n, result) in (0..30).zip(&results) {
            assert_eq!(result.as_ref().ok(), (n % 10 != 7).then_some(&n), "{results:?}");
        }
        let error = pool.map_chunked(picky, 0..30, chunk).unwrap_err();
        assert!(error.to_string().contains("7 is not liked"), "the first: {error}");
    }
    // The processes are the same as before: nobody died.
    assert_eq!(pool.map(square, 0..10).unwrap().len(), 10);
}

/// Calls of which the first waits for a file that is written when all others are there.
pub(crate) fn slow_and_quick(pool: &Pool, quick: u64) {
    let place = Place::new();
    let go = place.path("go");
    // So that many are given ahead.
    assert_eq!(pool.map_chunked(square, 0..20_000, 1).unwrap().len(), 20_000);
    let calls = (0..quick).map(|n| (n, (n == quick / 2).then(|| go.clone())));
    let results: Vec<_> = calls.map(|args| pool.apply_async(wait_for, args)).collect();
    for (n, result) in (0..quick).zip(results.iter()) {
        assert!(n == quick / 2 || result.wait(PATIENCE), "call {n} waits behind the slow one");
    }
    assert!(!results[usize::try_from(quick / 2).unwrap()].ready());
    place.write("go", "");
    for (n, result) in (0..quick).zip(results) {
        assert_eq!(result.get().unwrap(), n);
    }
}

pub(crate) fn quick_calls_do_not_wait_behind_a_slow_one() {
    let pool = Pool::new(2).unwrap();
    for _ in 0..5 {
        slow_and_quick(&pool, 2000);
    }
}

pub(crate) fn no_more_is_taken_from_the_source_than_is_needed() {
    let pool = Pool::new(2).unwrap();
    for ordered in [true, false] {
        let taken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&taken);
        let endless = (0..).inspect(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let results: Vec<u64> = if ordered {
            pool.imap(square, endless).take(5000).collect::<Result<_, _>>().unwrap()
        } else {
            pool.imap_unordered(square, endless).take(5000).collect::<Result<_, _>>().unwrap()
        };
        assert_eq!(results.len(), 5000);
        let taken = taken.load(Ordering::SeqCst);
        assert!((5000..8000).contains(&taken), "{taken} were taken for 5000 results");
    }
    // Of large results no more than 64 MiB wait, of which it learns by the first.
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let endless = std::iter::repeat_with(move || {
        count.fetch_add(1, Ordering::SeqCst);
        1 << 20
    });
    assert!(pool.imap(large, endless).take(150).all(|text| text.unwrap().len() == 1 << 20));
    let taken = taken.load(Ordering::SeqCst);
    assert!((150..150 + 2 * 64).contains(&taken), "{taken} were taken for 150 results");
    // What was begun for nobody holds nobody up.
    assert_eq!(pool.apply(square, (3,)).unwrap(), 9);
}

pub(crate) fn a_pool_is_closed_joined_and_terminated() {
    let place = Place::new();
    let pool = Pool::new(2).unwrap();
    let error = pool.join().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let late = pool.apply_async(wait_for, (1, Some(place.path("go"))));
    pool.close();
    assert!(matches!(pool.apply(square, (1,)), Err(CallError::Closed)));
    assert!(matches!(pool.imap(square, 0..3).next(), Some(Err(CallError::Closed))));
    assert_eq!(pool.join_timeout(Duration::from_millis(10)).unwrap_err().kind(), ErrorKind::Timeout);
    place.write("go", "");
    pool.join().unwrap();
    assert_eq!(late.get().unwrap(), 1);

    let pool = Pool::new(2).unwrap();
    let never = || (1, Some(place.path("never")));
    let results: Vec<_> = (0..100).map(|_| pool.apply_async(wait_for, never())).collect();
    let mut sequence = pool.imap(square, 0..10_000);
    pool.terminate();
    for result in results {
        assert!(matches!(result.get(), Err(CallError::Terminated)));
    }
    assert!(sequence.any(|result| matches!(result, Err(CallError::Terminated))));
    assert!(sequence.next().is_none());
    pool.join().unwrap();
    pool.terminate();

    // Dropped, it is terminated.
    let pool = Pool::new(1).unwrap();
    let result = pool.apply_async(wait_for, never());
    drop(pool);
    assert!(matches!(result.get(), Err(CallError::Terminated)));

    let pool = Pool::new(2).unwrap();
    let result = pool.map_async(square, 0..1000);
    pool.shutdown();
    assert_eq!(result.get().unwrap().len(), 1000);
}

pub(crate) fn every_process_is_initialized() {
    let pool = Pool::builder()
        .processes(3)
        .initializer(remember, (100_u64,))
        .max_tasks_per_child(20)
        .build()
        .unwrap();
    let results: Result<Vec<_>, _> = pool.imap(remembered, 0..500).collect();
    assert_eq!(results.unwrap(), (100..600).collect::<Vec<_>>());

    let pool = Pool::builder().processes(2).initializer(refuse, ("no start".to_owned(),)).build().unwrap();
    for _ in 0..2 {
        let error = pool.apply(square, (1,)).unwrap_err();
        assert!(matches!(&error, CallError::Failed(_)), "{error}");
        assert!(error.to_string().contains("the initializer of the pool failed: no start"), "{error}");
    }
    pool.join().unwrap();
}

pub(crate) fn processes_are_replaced_after_their_tasks() {
    let pool = Pool::builder().processes(2).max_tasks_per_child(10).build().unwrap();
    let pids: Vec<u32> = pool.imap(pid, 0..200).collect::<Result<_, _>>().unwrap();
    let different: BTreeSet<_> = pids.iter().collect();
    for pid in &different {
        assert!(pids.iter().filter(|other| other == pid).count() <= 10, "{pids:?}");
    }
    assert!(different.len() >= 20, "{different:?}");
}

pub(crate) fn the_same_processes_serve_all_calls() {
    let pool = Pool::new(3).unwrap();
    let pids = Mutex::new(BTreeSet::new());
    for _ in 0..20 {
        pids.lock().unwrap().extend(pool.map_chunked(pid, 0..50, 1).unwrap());
    }
    let pids = pids.into_inner().unwrap();
    assert!((1..=3).contains(&pids.len()) && !pids.contains(&std::process::id()), "{pids:?}");
}

pub(crate) fn what_is_wrong_with_a_call_is_told() {
    let pool = Pool::new(1).unwrap();
    let error = pool.map(not_registered, 0..3).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("not_registered is not registered") && text.contains("app.function(not_registered)"),
        "{text}"
    );
    assert!(pool.imap(not_registered, 0..3).next().unwrap().is_err());
    let text = pool.apply(|n: u64| n, (1,)).unwrap_err().to_string();
    assert!(text.contains("no path of its own"), "{text}");

    for (error, words) in [
        (Pool::new(0).unwrap_err(), "1 to 1024 processes, not 0"),
        (Pool::new(100_000).unwrap_err(), "not 100000"),
        (Pool::builder().processes(1).max_tasks_per_child(0).build().unwrap_err(), "at least 1"),
        (Pool::builder().processes(1).run_limit(Duration::ZERO).build().unwrap_err(), "run limit of 0"),
        (
            Pool::builder().processes(1).initializer(not_registered, (1,)).build().unwrap_err(),
            "not registered",
        ),
    ] {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.report().contains(words), "{}", error.report());
    }
    // A process of a pool is a daemon.
    let place = Place::new();
    pool.apply(have_children, (place.path("tried"),)).unwrap();
    let tried = lines(&place.path("tried"));
    assert!(tried.iter().all(|line| line.contains("refused: a daemon may not have processes")), "{tried:?}");
}
