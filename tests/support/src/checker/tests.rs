//! Ledgers written by hand, and what the checker finds in them.

use std::{fs, process::Command};

use super::*;
use crate::ledger::{Ledger, now};

fn sent(id: &str, outcome: Outcome) -> Record {
    Record::Sent { id: id.to_owned(), outcome, at: 0 }
}

/// A run of the task `a`.
fn run(epoch: u64, pid: u32) -> Run {
    Run { id: "a".to_owned(), epoch, pid }
}

fn begin(epoch: u64, pid: u32, at: u64) -> Record {
    Record::Begin { run: run(epoch, pid), at }
}

fn done(epoch: u64, pid: u32, at: u64) -> Record {
    Record::Done { run: run(epoch, pid), at }
}

fn failed(epoch: u64, pid: u32, at: u64) -> Record {
    Record::Failed { run: run(epoch, pid), at }
}

fn end(epoch: u64, pid: u32, at: u64, result: Answer) -> Record {
    Record::End { run: run(epoch, pid), result, at }
}

fn fault(pid: Option<u32>, from: u64, to: u64) -> Record {
    Record::Fault { fault: "cut".to_owned(), pid, from, to }
}

use Answer::{Accepted, Refused, Unknown};

/// The epochs of pairs.
fn epochs(pairs: &[Pair]) -> Vec<(u64, u64)> {
    pairs.iter().map(|pair| (pair.first.epoch, pair.second.epoch)).collect()
}

#[test]
fn what_went_well_is_no_defect() {
    let report = judge(&[
        sent("a", Outcome::Confirmed),
        begin(1, 7, 10),
        failed(1, 7, 20),
        end(1, 7, 25, Accepted),
        begin(2, 8, 22),
        done(2, 8, 30),
        end(2, 8, 31, Accepted),
        sent("b", Outcome::Refused),
        sent("c", Outcome::Unknown),
    ]);
    assert_eq!(report.defects(), Vec::<String>::new());
    assert_eq!((report.confirmed, report.unknown, report.runs, report.completed), (1, 1, 2, 1));
}

#[test]
fn a_confirmed_task_that_no_run_completed_is_lost() {
    let never = [sent("a", Outcome::Confirmed)];
    assert_eq!(judge(&never).defects(), ["LOST a"]);
    let failing = [sent("a", Outcome::Confirmed), begin(1, 7, 1), failed(1, 7, 2), end(1, 7, 3, Accepted)];
    assert_eq!(judge(&failing).lost, ["a"]);
    let killed = [sent("a", Outcome::Confirmed), begin(1, 7, 1), Record::Killed { pid: 7, at: 2 }];
    assert_eq!(judge(&killed).lost, ["a"]);
    // Sent twice, of which the second time is confirmed.
    let again = [sent("a", Outcome::Unknown), sent("a", Outcome::Confirmed)];
    let report = judge(&again);
    assert_eq!((report.lost.len(), report.confirmed, report.unknown), (1, 1, 0));
}

/// Runs that were told their end, whose handler had not ended, and whose process lives are not meant.
#[test]
fn work_that_was_done_and_not_settled_before_a_kill_is_counted() {
    let killed = Record::Killed { pid: 7, at: 9 };
    let report = judge(&[
        begin(1, 7, 1),
        done(1, 7, 2),
        end(1, 7, 3, Accepted),
        begin(2, 7, 4),
        done(2, 7, 5),
        begin(3, 7, 6),
        begin(4, 8, 7),
        done(4, 8, 8),
        killed,
    ]);
    assert_eq!(report.unsettled, [run(2, 7)]);
}

/// Killed after its work and before the broker's answer was written down: the work was done.
#[test]
fn done_work_is_not_lost() {
    let report = judge(&[sent("a", Outcome::Confirmed), begin(1, 7, 1), done(1, 7, 2)]);
    assert_eq!((report.lost.len(), report.completed), (0, 1));
}

/// The first answer was lost on the way.
fn twice() -> Vec<Record> {
    vec![
        begin(1, 7, 10),
        done(1, 7, 20),
        end(1, 7, 25, Unknown),
        begin(2, 8, 100),
        done(2, 8, 110),
        end(2, 8, 115, Accepted),
    ]
}

#[test]
fn a_second_completed_run_is_doubled() {
    let report = judge(&twice());
    assert_eq!(epochs(&report.doubled), [(1, 2)]);
    assert_eq!(report.defects(), ["DOUBLED a: epoch 1 in process 7, epoch 2 in process 8"]);
    // A third is another one.
    let third = [begin(3, 9, 200), done(3, 9, 210)];
    assert_eq!(epochs(&judge(&[twice(), third.into()].concat()).doubled), [(1, 2), (2, 3)]);
}

#[test]
fn a_fault_explains_a_second_run_only_if_it_touched_one_of_the_two() {
    let explained = |pid, from, to| {
        let report = judge(&[twice(), vec![fault(pid, from, to)]].concat());
        assert_eq!(report.doubled.len(), 1, "explained or not, it is told");
        report.defects().is_empty()
    };
    assert!(explained(None, 15, 22), "while the first was settled");
    assert!(explained(None, 0, 10) && explained(None, 100, 120), "at the edges");
    assert!(explained(Some(7), 12, 13) && explained(Some(8), 90, 300), "of that process");
    assert!(!explained(None, 101, 300), "when the second had begun");
    assert!(!explained(None, 0, 9), "before both");
    assert!(!explained(None, 26, 99), "between them");
    assert!(!explained(None, 116, 200), "after both");
    assert!(!explained(Some(9), 0, 200), "of somebody else");
    assert!(!explained(Some(8), 12, 13), "of the second, while the first ran");
}

/// Without the broker's answer it may have been settled at any time up to the second run.
#[test]
fn a_fault_explains_a_second_run_if_nobody_knows_when_the_first_was_settled() {
    let untold = [begin(1, 7, 10), done(1, 7, 20), begin(2, 8, 100), done(2, 8, 110)];
    let defects = |from| judge(&[&untold[..], &[fault(None, from, from + 1)]].concat()).defects().len();
    assert_eq!((defects(50), defects(101), defects(5)), (0, 1, 1));
}

#[test]
fn a_run_after_an_accepted_completion_is_marked() {
    let records = [twice(), vec![fault(None, 15, 22)]].concat();
    let report = judge(&records);
    assert!(!report.doubled[0].after_accepted && report.resettled.is_empty());
    let accepted = |record: &Record| match record {
        Record::End { run, at, .. } => Record::End { run: run.clone(), at: *at, result: Accepted },
        other => other.clone(),
    };
    let records: Vec<_> = records.iter().map(accepted).collect();
    let report = judge(&records);
    assert!(report.doubled[0].after_accepted);
    assert_eq!(report.resettled, ["a"]);
}

#[test]
fn runs_at_the_same_instant_overlap() {
    let first = [begin(1, 7, 10), done(1, 7, 20), end(1, 7, 50, Refused)];
    let second = |at| vec![begin(2, 8, at), failed(2, 8, at + 5)];
    let report = judge(&[first.to_vec(), second(19)].concat());
    assert_eq!(report.defects(), ["OVERLAPPING a: epoch 1 in process 7, epoch 2 in process 8"]);
    let report = judge(&[first.to_vec(), second(20)].concat());
    assert!(report.overlapping.is_empty(), "the handler returned, though its settlement goes on");
    let stopped = vec![fault(Some(7), 12, 18)];
    let report = judge(&[first.to_vec(), second(19), stopped].concat());
    assert_eq!((report.overlapping.len(), report.defects().len()), (1, 0));
}

#[test]
fn a_run_without_an_end_lasts_to_the_kill_or_for_ever() {
    let records = |kill: Option<(u32, u64)>| {
        let kill = kill.map(|(pid, at)| Record::Killed { pid, at });
        [begin(1, 7, 10), begin(2, 8, 30), done(2, 8, 40)].into_iter().chain(kill).collect::<Vec<_>>()
    };
    assert_eq!(epochs(&judge(&records(None)).overlapping), [(1, 2)]);
    assert_eq!(epochs(&judge(&records(Some((7, 31)))).overlapping), [(1, 2)]);
    assert_eq!(epochs(&judge(&records(Some((9, 20)))).overlapping), [(1, 2)], "somebody else was killed");
    assert_eq!(
        epochs(&judge(&records(Some((7, 5)))).overlapping),
        [(1, 2)],
        "an earlier process of this pid"
    );
    assert!(judge(&records(Some((7, 20)))).overlapping.is_empty());
}

#[test]
fn an_old_claim_that_is_accepted_after_a_newer_one_began_is_stale() {
    let newer = [begin(2, 8, 30), done(2, 8, 40), end(2, 8, 45, Accepted)];
    let older = |done_at, answer| {
        vec![begin(1, 7, 10), done(1, 7, done_at), end(1, 7, 60, answer), fault(Some(7), 12, 50)]
    };
    let report = judge(&[older(50, Accepted), newer.to_vec()].concat());
    assert_eq!(epochs(&report.stale), [(2, 1)]);
    let text = "STALE a: epoch 2 in process 8, epoch 1 in process 7 (cut)";
    assert_eq!(report.defects(), [text], "no fault explains it");
    assert_eq!(epochs(&judge(&[older(35, Accepted), newer.to_vec()].concat()).stale), [(2, 1)]);
    assert!(judge(&[older(50, Refused), newer.to_vec()].concat()).stale.is_empty());
    assert!(judge(&[older(50, Unknown), newer.to_vec()].concat()).stale.is_empty());
    let in_time = judge(&[older(29, Accepted), newer.to_vec()].concat());
    assert!(in_time.stale.is_empty(), "it may have been accepted before the newer one began");
    // The same without the handler's own word: the answer came later than the newer begin.
    let short = [begin(1, 7, 10), end(1, 7, 60, Accepted)];
    assert_eq!(epochs(&judge(&[short.to_vec(), newer.to_vec()].concat()).stale), [(2, 1)]);
}

#[test]
fn an_epoch_is_given_once() {
    let report = judge(&[begin(1, 7, 10), failed(1, 7, 11), begin(1, 8, 20), done(1, 8, 21)]);
    assert_eq!(report.defects(), ["REUSED a: epoch 1 in process 7, epoch 1 in process 8"]);
    // Also within one process.
    let report = judge(&[begin(1, 7, 10), failed(1, 7, 11), begin(1, 7, 20), done(1, 7, 21)]);
    assert_eq!(report.reused.len(), 1);
}

#[test]
fn a_torn_last_line_is_counted_and_a_torn_other_line_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path(), "worker").unwrap();
    ledger.sent("a", Outcome::Confirmed).unwrap();
    ledger.begin(&Run::new("a", 1)).unwrap();
    ledger.done(&Run::new("a", 1)).unwrap();
    let whole = fs::read(ledger.path()).unwrap();
    fs::write(ledger.path(), &whole[..whole.len() - 9]).unwrap();
    let report = check(folder.path()).unwrap();
    assert_eq!((report.torn, report.lost), (1, vec!["a".to_owned()]));
    // A kill tears the last byte off too: that line is whole but for its end, and was never told to be written.
    fs::write(ledger.path(), &whole[..whole.len() - 1]).unwrap();
    assert_eq!(check(folder.path()).unwrap().torn, 1);
    fs::write(ledger.path(), [&whole[9..], &whole[..]].concat()).unwrap();
    assert_eq!(check(folder.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Ledger::open(folder.path(), "p").unwrap(), Ledger::open(folder.path(), "p").unwrap());
    let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
    let (from, run) = (now(), Run::new("a", 1));
    one.sent("a", Outcome::Confirmed).unwrap();
    one.sent("b", Outcome::Unknown).unwrap();
    two.begin(&run).unwrap();
    two.failed(&run).unwrap();
    two.end(&run, Unknown).unwrap();
    two.begin(&Run { epoch: 2, pid: child.id(), ..run }).unwrap();
    two.kill(child.id()).unwrap();
    two.begin(&Run::new("a", 3)).unwrap();
    two.done(&Run::new("a", 3)).unwrap();
    two.end(&Run::new("a", 3), Accepted).unwrap();
    two.fault("cut", None, from).unwrap();
    child.wait().unwrap();
    let report = check(folder.path()).unwrap();
    let text = "1 confirmed, 1 unknown, 3 runs, 1 completed, 0 doubled, 0 overlapping, 0 torn lines";
    assert_eq!(report.to_string(), text);
}
