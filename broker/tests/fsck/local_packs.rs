//! The local store's packs, damaged by SQL: tasks that were sent together, some of them leased, some gone.

use manyhands_broker::{Beat, Beaten, Cancel};

use super::{local::Local, *};

/// Where packs are: six tasks on `p`, of which the first three are leased and the second of those is settled; the fifth is
/// cancelled.
async fn packed(store: &Local) -> (Arc<dyn Broker>, Vec<NewTask>, Vec<ClaimedTask>) {
    let broker = store.session().await;
    let p = QueueName::new("p").unwrap();
    let name = TaskName::new("work").unwrap();
    let payload = |number| Payload::encode(&number).unwrap();
    let tasks: Vec<_> = (0..6).map(|number| NewTask::new(p.clone(), name.clone(), payload(number))).collect();
    assert_eq!(broker.enqueue(&tasks, None).await.unwrap(), vec![Enqueued::Enqueued; 6]);
    let held = broker.claim(&Claim::new(p.clone(), 3)).await.unwrap().tasks;
    assert_eq!(settle(&*broker, &held[1], complete()).await, Settled::Settled);
    assert_eq!(broker.cancel(&p, &[tasks[4].id.clone()]).await.unwrap(), [Cancel::Cancelled]);
    assert_eq!(found(&fsck(&*broker, false).await), [], "before");
    (broker, tasks, held)
}

/// What is done, what is found of shares, how many of the four tasks are run afterwards (the others are dead), and whether what
/// was leased still is.
struct Case {
    done: &'static str,
    found: &'static [&'static str],
    run: usize,
    kept: bool,
}

const READY: &str = "leased_by IS NULL";
const LEASED: &str = "leased_by IS NOT NULL";

fn case(done: &'static str, found: &'static [&'static str], kept: bool) -> Case {
    Case { done, found, run: 4, kept }
}

fn cases() -> Vec<Case> {
    vec![
        case(
            "UPDATE shares SET start = 5 WHERE leased_by IS NULL",
            &["a share that is no part of its pack"],
            true,
        ),
        case(
            "UPDATE shares SET first = 40 WHERE leased_by IS NULL",
            &["a share that is no part of its pack", "the counter highest_sequence is 6, but 42 was given"],
            true,
        ),
        case(
            "UPDATE shares SET queue = 9 WHERE leased_by IS NULL",
            &["a share that is no part of its pack", "the counter packed is 2, but there are 0"],
            true,
        ),
        Case {
            done: "UPDATE shares SET start = 2 WHERE leased_by IS NULL",
            found: &["a share that is no part of its pack"],
            run: 2,
            kept: true,
        },
        case(
            "UPDATE shares SET members = 'x01' WHERE leased_by IS NULL",
            &["a share of which is not known what is here"],
            true,
        ),
        case(
            "UPDATE shares SET ids = CAST(substr(ids, 1, 40) || substr(ids, 33) AS BLOB) WHERE leased_by IS NULL",
            &["a share of which is not known what is here"],
            true,
        ),
        case(
            "UPDATE shares SET most = least WHERE leased_by IS NULL",
            &["a share whose ids are not in their order"],
            true,
        ),
        case(
            "UPDATE shares SET leased_until = NULL WHERE leased_by IS NOT NULL",
            &["a share that is leased, but nobody can hold it"],
            false,
        ),
        case(
            "UPDATE shares SET epoch = 0 WHERE leased_by IS NOT NULL",
            &["a share that is leased, but nobody can hold it"],
            false,
        ),
        case(
            "UPDATE shares SET leased_until = 1 << 60 WHERE leased_by IS NOT NULL",
            &["a share that is leased, but nobody can hold it"],
            false,
        ),
        case(
            "UPDATE packs SET max_attempts = 0",
            &["a share of a pack that cannot be read", "a share of a pack that cannot be read"],
            false,
        ),
        case(
            "UPDATE queues SET packed = 7 WHERE name = 'p'",
            &["the counter packed is 7, but there are 2"],
            true,
        ),
        case(
            "UPDATE queues SET shared = 7 WHERE name = 'p'",
            &["the counter shared is 7, but there are 2"],
            true,
        ),
        case(
            "UPDATE queues SET highest_sequence = 2 WHERE name = 'p'",
            &["the counter highest_sequence is 2, but 6 was given"],
            true,
        ),
        case(
            "INSERT INTO packs (queue, first, size, name, max_attempts, max_crashes, ends, payloads) \
             SELECT queue, 50, size, name, 1, 1, ends, payloads FROM packs",
            &["a pack of which nothing is left"],
            true,
        ),
        case(
            "INSERT INTO tasks (queue, id, id_given, name, payload, state, sequence, must_alone, epoch, attempts, max_attempts, \
             crashes, max_crashes, deaths, alone, parks, parked_since, place) SELECT queue, substr(ids, 1, 16), 0, 'work', '3', 0, 90, \
             0, 0, 0, 5, 0, 3, 0, 0, 0, 0, 90 FROM shares WHERE leased_by IS NULL; \
             UPDATE queues SET ready = ready + 1, highest_sequence = 90 WHERE name = 'p'",
            &["a share with tasks that are elsewhere, too"],
            true,
        ),
        Case {
            done: "DELETE FROM packs",
            found: &["a share of a pack that is not there", "a share of a pack that is not there"],
            run: 0,
            kept: false,
        },
        Case {
            done: "UPDATE packs SET ends = x'00'",
            found: &["a share of a pack that cannot be read", "a share of a pack that cannot be read"],
            run: 0,
            kept: false,
        },
    ]
}

/// Nothing is lost: what can be read runs, once, and what cannot is dead.
#[tokio::test]
async fn damaged_packs_are_named_and_mended() {
    for Case { done, found: wanted, run, kept } in cases() {
        let store = Local::new();
        let (broker, _, held) = packed(&store).await;
        store.sql(done);
        let look = fsck(&*broker, false).await;
        let about = |finding: &String| {
            finding.contains("share") || finding.contains("pack") || finding.contains("highest")
        };
        let wrong: Vec<String> =
            look.findings.iter().map(|finding| finding.wrong.clone()).filter(about).collect();
        assert_eq!(wrong, wanted, "{done}");
        let repair = fsck(&*broker, true).await;
        assert_eq!(repair.unrepaired(), 0, "{done}: {:?}", repair.findings);
        assert_eq!(found(&fsck(&*broker, false).await), [], "after the repair of: {done}");

        let beats = [held[0].lease.clone().into(), held[2].lease.clone().into()];
        let answer = if kept { Beaten::Kept } else { Beaten::Lost };
        assert_eq!(broker.beat(&beats, Duration::from_secs(30)).await.unwrap(), [answer; 2], "{done}");
        store.advance(Duration::from_secs(61));
        let mut ran = BTreeSet::new();
        for name in broker.queues(None, 9).await.unwrap() {
            for task in broker.claim(&Claim::new(name.clone(), 9)).await.unwrap().tasks {
                assert_eq!(task.crashes, 0, "{done}: nobody is charged");
                assert_eq!(settle(&*broker, &task, complete()).await, Settled::Settled, "{done}");
                assert!(ran.insert(task.payload.as_str().to_owned()), "{done}: twice: {task:?}");
            }
            let status = broker.status(&name).await.unwrap().unwrap();
            let dead = u64::try_from(4 - run).unwrap();
            assert_eq!(
                (status.unsettled(), status.dead == dead || run == 4),
                (0, true),
                "{done}: {status:?}"
            );
        }
        assert_eq!(ran.len(), run, "{done}: {ran:?}");
        assert_eq!(found(&fsck(&*broker, false).await), [], "at the end of: {done}");
    }
}

/// The view for people shows what is there.
#[tokio::test]
async fn packs_can_be_looked_at() {
    let store = Local::new();
    let (broker, tasks, held) = packed(&store).await;
    for (which, wanted) in [(READY, vec![3, 5]), (LEASED, vec![0, 2])] {
        let ids =
            store.ids(&format!("SELECT id FROM packed WHERE {which} AND name = 'work' ORDER BY sequence"));
        let wanted: Vec<_> = wanted.into_iter().map(|number: usize| tasks[number].id.clone()).collect();
        assert_eq!(ids, wanted, "{which}");
    }
    let leases = [held[0].lease.clone(), held[2].lease.clone()];
    assert_eq!(broker.beat(&Beat::all(&leases), Duration::from_secs(9)).await.unwrap(), [Beaten::Kept; 2]);
}
