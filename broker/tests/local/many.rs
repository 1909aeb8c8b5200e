//! Many tasks: every single one of them comes back.

use std::collections::HashSet;

use manyhands_broker::limits::MAX_BATCH;

use super::*;

/// More than one in ten thousand would be missed.
#[tokio::test]
async fn nothing_is_lost_among_many() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, q) = (session(folder.path()).await.unwrap(), queue("q"));
    let mut sent = HashSet::new();
    for batch in 0..80 {
        let ids: Vec<_> = (0..MAX_BATCH).map(|number| format!("{batch}-{number}")).collect();
        enqueue(&*broker, &q, &ids).await.unwrap();
        sent.extend(ids);
    }
    assert_eq!(sent.len(), 20_480);
    loop {
        let claimed = broker.claim(&Claim::new(q.clone(), MAX_BATCH)).await.unwrap().tasks;
        if claimed.is_empty() {
            break;
        }
        let ids = claimed.iter().map(|task| task.lease.id.to_string());
        ids.for_each(|id| assert!(sent.remove(&id), "{id} came twice"));
        let ends: Vec<_> = claimed.into_iter().map(|task| Settlement::new(task.lease, complete())).collect();
        assert_eq!(broker.settle(&ends).await.unwrap(), vec![Settled::Settled; ends.len()]);
    }
    assert_eq!(sent.len(), 0, "tasks that were accepted and never came: {sent:?}");
    assert_eq!(counts(&*broker, &q).await, [0; 4]);
}
