//! Machines that are started anew.

use super::*;

/// Leases of another boot are void, whatever they say: the clock that they go by began again. The old holder's
/// lock is still held here, so that the boot alone tells. And no epoch is given twice, as the last claims before a
/// power cut may be lost.
#[tokio::test]
async fn a_reboot_voids_leases_and_raises_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, q) = (ManualClock::default(), queue("q"));
    let mut old = vec![session_at(folder.path(), clock.clone()).await];
    enqueue(&*old[0], &q, &["1", "2"]).await.unwrap();
    let (mut high, mut last) = claims(&*old[0], &q).await;
    for after in [Duration::ZERO, Duration::from_secs(7200)] {
        clock.advance(after);
        clock.reboot();
        lose_epochs(folder.path());
        let new = session_at(folder.path(), clock.clone()).await;
        assert_eq!(counts(&*new, &q).await, [0, 0, 2, 0], "taken back by a claim, not before");
        let lost = Settlement::new(last.lease.clone(), complete());
        (high, last) = claims_above(&*new, &q, high).await;
        for session in &old {
            assert_eq!(session.settle(std::slice::from_ref(&lost)).await.unwrap(), [Settled::Lost]);
        }
        whole(&*new).await;
        old.push(new);
    }
}

/// As above, and the wall clock stands before the last boot's: the generation cannot come from it.
#[tokio::test]
async fn a_reboot_with_a_wall_clock_set_back_raises_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, q) = (SetClock::default(), queue("q"));
    let mut old = vec![session_at(folder.path(), clock.clone()).await];
    enqueue(&*old[0], &q, &["1", "2"]).await.unwrap();
    let (mut high, _) = claims(&*old[0], &q).await;
    for (boot, back) in [(2, 86_400_000), (3, 86_400_000), (4, 0)] {
        clock.set(boot, SetClock::WALL - back);
        lose_epochs(folder.path());
        let new = session_at(folder.path(), clock.clone()).await;
        (high, _) = claims_above(&*new, &q, high).await;
        whole(&*new).await;
        old.push(new);
    }
}

/// The usual reboot: nobody is left. What was held is taken back without a claim, and what was put off still
/// becomes due.
#[tokio::test]
async fn a_reboot_finds_all_processes_dead() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, q) = (ManualClock::default(), queue("q"));
    let old = session_at(folder.path(), clock.clone()).await;
    enqueue(&*old, &q, &["1", "2", "3"]).await.unwrap();
    let tasks = old.claim(&Claim::new(q.clone(), 2)).await.unwrap().tasks;
    let retry = End::Retry { error: "it failed".to_owned(), delay: Duration::from_secs(5) };
    assert_eq!(settle(&*old, &tasks[0], retry).await, Settled::Settled);
    drop(old);
    clock.reboot();
    let new = session_at(folder.path(), clock.clone()).await;
    until(&*new, &q, |status| status.leased == 0).await;
    whole(&*new).await;
    clock.advance(Duration::from_secs(5));
    let tasks = new.claim(&Claim::new(q.clone(), 9)).await.unwrap().tasks;
    let found: Vec<_> = tasks.iter().map(|t| (t.lease.id.to_string(), t.attempts, t.deaths)).collect();
    let wanted = [("2", 0, 1), ("3", 0, 0), ("1", 1, 0)].map(|(id, a, d)| (id.to_owned(), a, d));
    assert_eq!(found, wanted, "what the next boot finds");
}

/// A clock whose wall clock can be set back, and whose steady clock begins with every boot.
#[derive(Clone, Debug)]
struct SetClock(Arc<Mutex<(u32, u64)>>);

impl SetClock {
    const WALL: u64 = 1_767_225_600_000;

    fn set(&self, boot: u32, wall: u64) {
        *self.0.lock().unwrap() = (boot, wall);
    }
}

impl Default for SetClock {
    fn default() -> Self {
        Self(Arc::new(Mutex::new((1, Self::WALL))))
    }
}

impl Clock for SetClock {
    fn now(&self) -> Now {
        Now { wall: self.0.lock().unwrap().1, steady: 1000 }
    }

    fn boot(&self) -> String {
        self.0.lock().unwrap().0.to_string()
    }
}

/// Claims and releases all tasks many times, keeps them at last, and tells the highest epoch and a task that is held.
async fn claims(broker: &dyn Broker, q: &QueueName) -> (u64, ClaimedTask) {
    let (mut high, mut last) = (0, None);
    for again in (0..20).rev() {
        let tasks = broker.claim(&Claim::new(q.clone(), 9).with_lease(DAY)).await.unwrap().tasks;
        assert!(!tasks.is_empty(), "nothing to claim");
        for task in tasks {
            high = high.max(task.lease.epoch);
            if again > 0 {
                assert_eq!(settle(broker, &task, End::Release).await, Settled::Settled);
            }
            last = Some(task);
        }
    }
    (high, last.unwrap())
}

/// What a power cut may do: claims are not synced, so the tasks stand again as before them.
fn lose_epochs(folder: &Path) {
    let sql = "UPDATE tasks SET epoch = 0";
    assert_eq!(Connection::open(folder.join("mh/tasks.db")).unwrap().execute(sql, []).unwrap(), 2);
}

/// As [`claims`], where each first epoch must lie above all former ones.
async fn claims_above(broker: &dyn Broker, q: &QueueName, high: u64) -> (u64, ClaimedTask) {
    let tasks = broker.claim(&Claim::new(q.clone(), 9).with_lease(DAY)).await.unwrap().tasks;
    assert_eq!(tasks.len(), 2, "leases of another boot must not hold: {tasks:?}");
    for task in &tasks {
        assert!(task.lease.epoch > high, "{} after {high}", task.lease.epoch);
        // A failure, so that the deaths that were counted do not make it run alone.
        let retry = End::Retry { error: "it failed".to_owned(), delay: Duration::ZERO };
        assert_eq!(settle(broker, task, retry).await, Settled::Settled);
    }
    claims(broker, q).await
}

const DAY: Duration = Duration::from_secs(86_400);
