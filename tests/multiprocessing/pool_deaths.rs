//! Pools whose processes die. That those of a caller that is killed do, too, is tested in `processes.rs`.

use std::{collections::BTreeMap, time::Duration};

use manyhands::multiprocessing::{CallError, OnCrash, Pool};
use manyhands_test_support::kill;

use crate::{
    functions::{abort, killed_by, large, lines, pid, square, until, wait_for},
    programs::Place,
};

/// Kills a process of the pool: one of this process's, as tests of this file have no others.
fn kill_one(of: &Pool) {
    // It may have died by itself meanwhile.
    let _ = kill::kill(of.apply(pid, (0,)).unwrap());
}

pub(crate) fn a_process_that_is_killed_costs_nothing() {
    for ordered in [true, false] {
        let pool = Pool::new(2).unwrap();
        let mut results: Vec<u64> = Vec::new();
        let source = 0..50_000;
        let mut take = |n: usize, result: Result<u64, CallError>| {
            results.push(result.unwrap());
            if n % 5000 == 2500 {
                kill_one(&pool);
            }
        };
        if ordered {
            pool.imap(square, source).enumerate().for_each(|(n, result)| take(n, result));
        } else {
            pool.imap_unordered(square, source).enumerate().for_each(|(n, result)| take(n, result));
            results.sort_unstable();
        }
        assert_eq!(results, (0..50_000).map(|n| n * n).collect::<Vec<_>>());
        // A whole map, with larger chunks.
        let map = pool.map_async(square, 0..100_000);
        kill_one(&pool);
        assert_eq!(map.get().unwrap(), (0..100_000).map(|n| n * n).collect::<Vec<_>>());
    }
}

pub(crate) fn a_call_that_kills_is_found_among_others() {
    for chunk in [1_u64, 7, 1000] {
        let place = Place::new();
        let file = place.path("runs");
        let pool = Pool::builder().processes(2).on_crash(OnCrash::Rerun { max_crashes: 2 }).build().unwrap();
        let calls = (0..200).map(|n| (n, 123, file.clone()));
        let results: Vec<_> = if chunk == 1 {
            let under_way: Vec<_> = calls.map(|args| pool.apply_async(killed_by, args)).collect();
            under_way.into_iter().map(manyhands::multiprocessing::AsyncResult::get).collect()
        } else {
            let error = pool
                .starmap_async(killed_by, calls, Some(usize::try_from(chunk).unwrap()))
                .get()
                .unwrap_err();
            assert!(matches!(error, CallError::Crashed { .. }), "{error}");
            Vec::new()
        };
        for (n, result) in (0..).zip(&results) {
            match result {
                Ok(result) => assert_eq!((*result, n != 123), (n, true)),
                Err(CallError::Crashed { crashes: 2, exit: Some(exit), how }) => {
                    assert_eq!((n, exit.signal_name()), (123, Some("SIGABRT")));
                    assert!(how.contains("SIGABRT"), "{how}");
                }
                Err(other) => panic!("call {n}: {other}"),
            }
        }
        let mut runs = BTreeMap::new();
        for line in lines(&file) {
            *runs.entry(line.parse::<u64>().unwrap()).or_insert(0_u64) += 1;
        }
        assert_eq!(runs.keys().copied().collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
        // Twice by itself, and before that in its chunk, whose other calls run again then; nobody else does.
        for (n, count) in &runs {
            let beside = chunk > 1 && n / chunk == 123 / chunk;
            let most = u64::from(*n == 123) + 1 + u64::from(beside);
            assert!((1..=most).contains(count), "{count} runs of {n}, in chunks of {chunk}");
        }
        assert_eq!(runs[&123], 2 + u64::from(chunk > 1));
        assert_eq!(pool.map(square, 0..100).unwrap().len(), 100);
    }
}

pub(crate) fn a_call_that_may_not_run_twice_does_not() {
    let place = Place::new();
    let file = place.path("runs");
    let pool = Pool::builder().processes(2).on_crash(OnCrash::Fail).build().unwrap();
    let results: Vec<_> =
        (0..300).map(|n| pool.apply_async(killed_by, (n, n / 100 * 100 + 50, file.clone()))).collect();
    for (n, result) in (0..).zip(results) {
        match result.get() {
            Ok(result) => assert_eq!((result, n % 100 != 50), (n, true)),
            Err(CallError::Crashed { crashes: 1, exit: Some(exit), .. }) => {
                assert_eq!((n % 100, exit.signal_name()), (50, Some("SIGABRT")));
            }
            Err(other) => panic!("call {n}: {other}"),
        }
    }
    let mut runs: Vec<u64> = lines(&file).iter().map(|line| line.parse().unwrap()).collect();
    runs.sort_unstable();
    assert_eq!(runs, (0..300).collect::<Vec<_>>());
}

pub(crate) fn a_call_that_nobody_began_is_not_lost() {
    let pool = Pool::builder().processes(1).on_crash(OnCrash::Fail).build().unwrap();
    for n in 0..200 {
        // Dead, or about to be, when it is given the next call; which it has not begun, as it reads nothing any more.
        let pid = pool.apply(pid, (n,)).unwrap();
        kill::kill(pid).unwrap();
        assert_eq!(pool.apply(square, (n,)).unwrap(), n * n);
    }
}

pub(crate) fn processes_that_die_while_they_write_are_typed_ends() {
    let kills = if std::env::var_os("MANYHANDS_TEST_LONG").is_some() { 1000 } else { 50 };
    let pool = Pool::builder().processes(2).on_crash(OnCrash::Fail).build().unwrap();
    let (mut killed, mut crashed) = (0, 0);
    let mut pids: Vec<u32> = Vec::new();
    while killed < kills {
        // Results of which none fits a socket's buffer.
        let results: Vec<_> = (0..4).map(|_| pool.apply_async(large, (400_000,))).collect();
        // Whoever is there, the one that answered last.
        pids.extend(kill::descendants(std::process::id()).into_iter().filter(|pid| is_of_pool(*pid)));
        if let Some(pid) = pids.pop() {
            killed += i32::from(kill::kill(pid).is_ok());
            pids.clear();
        }
        for result in results {
            match result.get() {
                Ok(text) => assert_eq!(text.len(), 400_000),
                Err(CallError::Crashed { exit: Some(exit), .. }) => {
                    assert_eq!(exit.signal_name(), Some("SIGKILL"));
                    crashed += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(crashed > 0, "{killed} were killed, and no call was lost");
}

/// Whether it is a process of a pool: the guard has another name.
fn is_of_pool(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| line.windows(5).any(|part| part == b"again"))
}

pub(crate) fn a_call_that_takes_too_long_is_ended() {
    let place = Place::new();
    let limit = Duration::from_millis(300);
    let pool = Pool::builder().processes(2).run_limit(limit).build().unwrap();
    let calls = (0..20).map(|n| (n, (n == 3).then(|| place.path("never"))));
    let results: Vec<_> = calls.map(|args| pool.apply_async(wait_for, args)).collect();
    for (n, result) in (0..).zip(results) {
        match result.get() {
            Ok(result) => assert_eq!(result, n),
            Err(CallError::RanTooLong(after)) => assert_eq!((n, after), (3, limit)),
            Err(other) => panic!("call {n}: {other}"),
        }
    }
    // Many that each take less than the limit are not late, however many they are.
    assert_eq!(pool.map_chunked(square, 0..20_000, 1).unwrap().len(), 20_000);
}

pub(crate) fn a_pool_that_is_gone_leaves_nobody() {
    let place = Place::new();
    let pool = Pool::new(2).unwrap();
    let results: Vec<_> =
        (0..10).map(|n| pool.apply_async(wait_for, (n, Some(place.path("never"))))).collect();
    until(|| kill::descendants(std::process::id()).into_iter().filter(|pid| is_of_pool(*pid)).count() == 2);
    drop((results, pool));
    until(|| !kill::descendants(std::process::id()).into_iter().any(is_of_pool));
    // A pool whose processes cannot live says so, instead of starting them for ever.
    let pool = Pool::builder().processes(1).initializer(abort, ()).build().unwrap();
    let error = pool.apply(square, (1,)).unwrap_err();
    assert!(
        error.to_string().contains("die before they can be called: killed by signal 6 (SIGABRT)"),
        "{error}"
    );
}
