//! An operator dies while it revives dead tasks.

use manyhands_broker::{Broker, Claim, End, Revived, Settlement, TaskId, crash::Point, limits};

use super::{Child, PATIENCE, Plan, TASKS, drain, enqueue, ledgers, namespace, queue, session, sorted, task};

/// How many of the dead are revived: the first ones.
pub(crate) const REVIVED: usize = TASKS - 1;

pub(crate) async fn child(child: &Child) {
    let broker = session(&child.url).await;
    let _ledger = child.arm();
    let _ = broker.dead_letters().unwrap().revive(&queue("q"), &child.ids[..REVIVED]).await;
}

async fn dead(broker: &dyn Broker) -> Vec<TaskId> {
    let dead = broker.dead_letters().unwrap().list(&queue("q"), None, limits::MAX_BATCH).await.unwrap();
    sorted(dead.iter().map(|task| &task.id))
}

pub(crate) async fn trial(plan: &Plan) {
    let (folder, _own) = ledgers();
    let url = namespace();
    let broker = session(&url).await;
    let tasks: Vec<_> = (0..TASKS).map(|_| task("q", "work")).collect();
    let ids = enqueue(&*broker, &tasks).await;
    let buried = drain(&*broker, "q", End::Bury { error: "it is no image".to_owned() }).await;
    assert_eq!((buried.len(), dead(&*broker).await), (TASKS, sorted(&ids)));
    Child { plan: plan.clone(), url: url.clone(), folder: folder.path().to_owned(), ids: ids.clone() }.die();

    // Nobody is kept from looking, and nothing is lost. What the dead one had taken comes back in one step.
    let (asked, other) = (sorted(&ids[..REVIVED]), ids[REVIVED].clone());
    let given_back = async {
        loop {
            let left = dead(&*broker).await;
            if left.contains(&other) {
                return left;
            }
        }
    };
    let left = tokio::time::timeout(PATIENCE, given_back).await.expect("the dead are there again");
    let (ready, counted) = match plan.point() {
        Point::RabbitMqDeadSeen => (Vec::new(), TASKS..=TASKS),
        Point::RabbitMqRevivedStored => (asked.clone(), TASKS..=TASKS),
        // Whether the last acknowledgements reached the server is not known.
        Point::RabbitMqRevivedRemoved => (asked.clone(), 1..=TASKS),
        _ => (asked.clone(), 1..=1),
    };
    assert!(counted.contains(&left.len()), "dead: {left:?}");
    let claimed = broker.claim(&Claim::new(queue("q"), 9)).await.unwrap().tasks;
    assert_eq!(sorted(claimed.iter().map(|task| &task.lease.id)), ready, "ready");
    assert!(claimed.iter().all(|task| (task.attempts, task.deaths) == (0, 0)), "they begin anew");
    let ends: Vec<_> =
        claimed.iter().map(|task| Settlement::new(task.lease.clone(), End::complete(Vec::new()))).collect();
    broker.settle(&ends).await.unwrap();

    // The call is repeated: those that are still dead come once more, with their ids.
    let again = broker.dead_letters().unwrap().revive(&queue("q"), &ids).await.unwrap();
    let expected = |id| if left.contains(id) { Revived::Revived } else { Revived::Unknown };
    assert_eq!(again, ids.iter().map(expected).collect::<Vec<_>>());
    let rest = drain(&*broker, "q", End::complete(Vec::new())).await;
    assert_eq!(sorted(rest.iter().map(|task| &task.lease.id)), left);
    let all = claimed.iter().chain(&rest).map(|task| &task.lease.id);
    let mut all = sorted(all);
    all.dedup();
    assert_eq!(all, sorted(&ids), "each was run");
    let status = broker.status(&queue("q")).await.unwrap().unwrap();
    assert_eq!((status.unsettled(), status.dead), (0, 0));
}
