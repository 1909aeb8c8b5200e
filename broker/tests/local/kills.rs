//! Processes that die.

use super::*;

/// A process that is killed while it holds tasks loses them at once: no clock is moved, their leases have
/// almost half a minute to go, and `status`, which is all that the test asks meanwhile, ends no lease. So only the
/// lock on the incarnation's file can tell.
#[tokio::test]
async fn a_killed_process_loses_its_tasks() {
    if let Some((folder, _)) = child() {
        return child_claims(&folder).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let (broker, q) = (session(folder.path()).await.unwrap(), queue("q"));
    for round in 0..10 {
        let ids: Vec<String> = (0..5).map(|number| format!("{round}-{number}")).collect();
        enqueue(&*broker, &q, &ids).await.unwrap();

        let mut child = Child::start("kills::a_killed_process_loses_its_tasks", folder.path(), 0);
        let incarnation = child.hear("incarnation").unwrap();
        assert_eq!(child.hear("held").unwrap(), ids[..3].join(" "), "what the child got");
        let file = folder.path().join("mh/incarnations").join(incarnation);
        assert!(file.exists(), "the file of a living process");
        assert_eq!(counts(&*broker, &q).await, [2, 0, 3, 0], "while the child lives");

        child.kill();
        let status = until(&*broker, &q, |status| status.leased == 0).await;
        assert_eq!((status.ready, status.unsettled()), (5, 5), "after its death");
        gone(&file).await;

        let tasks = broker.claim(&Claim::new(q.clone(), 9)).await.unwrap().tasks;
        let found: Vec<_> = tasks.iter().map(|task| (task.lease.id.to_string(), task.deaths)).collect();
        let wanted: Vec<_> = ids.into_iter().zip([1, 1, 1, 0, 0]).collect();
        assert_eq!(found, wanted, "the tasks in their old order, and whose holder died");
        for task in &tasks {
            assert_eq!(settle(&*broker, task, complete()).await, Settled::Settled);
        }
        whole(&*broker).await;
    }
}

/// The other process of `a_killed_process_loses_its_tasks`.
async fn child_claims(folder: &Path) {
    let broker = session(folder).await.unwrap();
    say("incarnation", broker.incarnation());
    let claim = Claim::new(queue("q"), 3).with_lease(Duration::from_secs(30));
    let tasks = broker.claim(&claim).await.unwrap().tasks;
    let ids: Vec<String> = tasks.iter().map(|task| task.lease.id.to_string()).collect();
    say("held", ids.join(" "));
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    unreachable!("nobody is left to kill this child");
}

/// A process that writes is killed anywhere: nothing that it was told is lost or undone, nothing is there
/// twice, and the counters tell what is in the tables. In every other round somebody else has the files open, so
/// that both kinds of recovery happen.
#[tokio::test]
async fn a_killed_writer_leaves_all_it_was_told() {
    if let Some((folder, round)) = child() {
        return child_writes(&folder, round).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let rounds = if std::env::var_os("MANYHANDS_TEST_LONG").is_some() { 100 } else { 10 };
    let mut random = Random(0x6d61_6e79_6861_6e64);
    let (mut tried, mut told, mut ended, mut over) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for round in 0..rounds {
        let beside = if round % 2 == 0 { None } else { Some(session(folder.path()).await.unwrap()) };
        let mut child = Child::start("kills::a_killed_writer_leaves_all_it_was_told", folder.path(), round);
        for _ in 0..1 + random.below(150) {
            note(child.line().unwrap(), &mut tried, &mut told, &mut ended, &mut over);
        }
        // The moment of the kill is the point, and no event stands for 'somewhere inside a commit'.
        tokio::time::sleep(Duration::from_micros(random.below(3000))).await;
        child.kill();
        while let Some(line) = child.line() {
            note(line, &mut tried, &mut told, &mut ended, &mut over);
        }

        let broker = session(folder.path()).await.unwrap();
        for name in ["a", "b"] {
            until(&*broker, &queue(name), |status| status.leased == 0).await;
        }
        whole(&*broker).await;
        let stored = Stored::read(folder.path());
        for name in ["a", "b"] {
            let counts = counts(&*broker, &queue(name)).await;
            assert_eq!(
                &counts,
                stored.counts.get(name).unwrap_or(&[0; 4]),
                "round {round}: counters of {name}"
            );
        }
        let lost: Vec<_> = told.difference(&stored.ids).filter(|id| !ended.contains(*id)).collect();
        assert!(lost.is_empty(), "round {round}: acknowledged, never settled and gone: {lost:?}");
        let undone: Vec<_> = over.intersection(&stored.ids).collect();
        assert!(undone.is_empty(), "round {round}: completed and there again: {undone:?}");
        let invented: Vec<_> = stored.ids.difference(&tried).collect();
        assert!(invented.is_empty(), "round {round}: never enqueued: {invented:?}");
        drop(beside);
    }
    assert!(told.len() > rounds as usize, "only {} tasks in {rounds} rounds", told.len());
    assert!(!over.is_empty(), "no task was completed in {rounds} rounds");
}

/// Sorts what a child said.
fn note(
    (word, id): (String, String),
    tried: &mut BTreeSet<String>,
    told: &mut BTreeSet<String>,
    ended: &mut BTreeSet<String>,
    over: &mut BTreeSet<String>,
) {
    let set = match word.as_str() {
        "enqueue" => tried,
        "enqueued" => told,
        "complete" => ended,
        "completed" => over,
        _ => return,
    };
    // One that was killed before it could complete a task leaves it to the next, which says so again.
    assert!(set.insert(id.clone()) || word == "complete", "{word} {id}, said twice");
}

/// The other process of `a_killed_writer_leaves_all_it_was_told`.
async fn child_writes(folder: &Path, round: u64) {
    let broker = session(folder).await.unwrap();
    let orphan = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&orphan);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::SeqCst);
    });
    let mut random = Random(round + 1);
    for number in 0.. {
        assert!(!orphan.load(Ordering::SeqCst), "nobody is left to kill this child");
        let name = queue(["a", "b"][usize::try_from(random.below(2)).unwrap()]);
        let ids: Vec<String> =
            (0..1 + random.below(3)).map(|task| format!("{round}-{number}-{task}")).collect();
        ids.iter().for_each(|id| say("enqueue", id));
        enqueue(&*broker, &name, &ids).await.unwrap();
        ids.iter().for_each(|id| say("enqueued", id));

        let most = usize::try_from(1 + random.below(4)).unwrap();
        for task in broker.claim(&Claim::new(name, most)).await.unwrap().tasks {
            let end = match random.below(7) {
                0 => End::Release,
                1 => End::Retry { error: "it failed".to_owned(), delay: Duration::from_millis(1) },
                2 => End::Bury { error: "it cannot succeed".to_owned() },
                3 => End::Crash { error: "it was killed".to_owned(), delay: Duration::from_millis(1) },
                _ => complete(),
            };
            let done = end == complete();
            if done {
                say("complete", &task.lease.id);
            }
            assert_eq!(settle(&*broker, &task, end).await, Settled::Settled);
            if done {
                say("completed", &task.lease.id);
            }
        }
    }
}

/// What is in the tables.
struct Stored {
    ids: BTreeSet<String>,
    /// Ready, scheduled, leased, dead.
    counts: BTreeMap<String, [u64; 4]>,
}

impl Stored {
    fn read(folder: &Path) -> Self {
        let connection = Connection::open(folder.join("mh/tasks.db")).unwrap();
        let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok", "the integrity of the database");
        let mut ids = connection.prepare("SELECT id FROM tasks").unwrap();
        let ids = ids.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        let sql = "SELECT queues.name, state, count(*) FROM tasks JOIN queues USING (queue) GROUP BY 1, 2";
        let mut counts = BTreeMap::<String, [u64; 4]>::new();
        let mut rows = connection.prepare(sql).unwrap();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let (name, state, count): (String, i64, i64) =
                (row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap());
            let state = usize::try_from(state).unwrap();
            counts.entry(name).or_default()[state] = u64::try_from(count).unwrap();
        }
        Self { ids, counts }
    }
}
