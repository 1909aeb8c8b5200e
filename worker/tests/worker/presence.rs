//! What a worker tells of itself while it runs, and how it drains when it is asked to.

use std::{sync::Arc, time::Duration};

use manyhands_broker::{LiveWorker, limits};

use crate::support::{AWAY, Bench, Gate, Gauge, Mode, gated, job, queue, soon, start};

async fn live(bench: &Bench) -> Vec<LiveWorker> {
    bench.broker.workers().unwrap().live(None, limits::MAX_BATCH).await.unwrap()
}

/// Looks until what the workers tell is so. They tell it every other second, and nothing tells that they did.
async fn until(bench: &Bench, what: &str, is_so: impl Fn(&[LiveWorker]) -> bool) -> Vec<LiveWorker> {
    soon(what, async {
        loop {
            let live = live(bench).await;
            if is_so(&live) {
                return live;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_worker_tells_what_it_runs_until_it_has_ended() {
    let (bench, gate, inside) = (Bench::new(), Gate::new(), Gauge::default());
    bench.send((1..=3).map(job)).await;
    let session = bench.session();
    let mut worker = start(Arc::clone(&session), gated(&gate, &inside), |builder| builder.concurrency(2));
    inside.until(2).await;
    let live = until(&bench, "two running tasks are told", |live| {
        live.first().is_some_and(|worker| worker.report.running == 2 && worker.report.last_claim.held_back)
    });
    let live = live.await;
    let report = &live[0].report;
    assert_eq!((live.len(), live[0].incarnation), (1, session.incarnation()));
    assert_eq!((report.pid, report.slots, report.draining), (std::process::id(), 2, false));
    assert_eq!(report.queues, [queue("jobs")]);
    assert_eq!(report.handlers.iter().map(ToString::to_string).collect::<Vec<_>>(), ["job"]);
    let mut ids: Vec<_> = report.tasks.iter().map(|task| task.id.to_string()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["1", "2"]);
    assert!(report.last_claim.answered.is_some() && report.last_claim.error.is_none(), "{report:?}");
    assert_eq!(live[0].trouble(Duration::from_secs(10)), None, "all its slots are taken");
    gate.open(3);
    bench.until("jobs", [0; 4]).await;
    until(&bench, "nothing running is told", |live| {
        live.first()
            .is_some_and(|worker| worker.report.tasks.is_empty() && !worker.report.last_claim.held_back)
    })
    .await;
    worker.shutdown.stop();
    worker.end().await.unwrap();
    assert_eq!(self::live(&bench).await, [], "it has left");
}

#[tokio::test]
async fn one_that_is_asked_to_drain_ends_when_its_tasks_have_and_no_other_does() {
    let (bench, gate, inside) = (Bench::new(), Gate::new(), Gauge::default());
    bench.send([job(1)]).await;
    let sessions = [bench.session(), bench.session()];
    let mut first = start(Arc::clone(&sessions[0]), gated(&gate, &inside), |builder| builder.concurrency(1));
    inside.until(1).await;
    let second = start(Arc::clone(&sessions[1]), gated(&gate, &inside), |builder| builder.concurrency(1));
    until(&bench, "both are there", |live| live.len() == 2).await;
    let workers = bench.broker.workers().unwrap();
    assert!(workers.drain(sessions[0].incarnation()).await.unwrap());
    let drains = |worker: &LiveWorker| worker.report.draining;
    let live = until(&bench, "one drains", |live| live.iter().any(drains)).await;
    let draining: Vec<_> = live.into_iter().filter(drains).collect();
    assert_eq!(draining.len(), 1);
    assert_eq!(draining[0].incarnation, sessions[0].incarnation());
    assert!(draining[0].asked_to_drain && draining[0].report.running == 1, "what runs goes on");
    bench.send([job(2), job(3)]).await;
    inside.until(2).await;
    gate.open(3);
    assert_eq!(first.end().await.unwrap().strays, 0);
    bench.until("jobs", [0; 4]).await;
    assert!(second.is_running());
    let left = self::live(&bench).await;
    assert_eq!(left.iter().map(|worker| worker.incarnation).collect::<Vec<_>>(), [sessions[1].incarnation()]);
    second.stop().await;
}

#[tokio::test]
async fn a_worker_whose_claims_fail_is_in_trouble_until_one_is_answered() {
    let (bench, gate, inside) = (Bench::new(), Gate::new(), Gauge::default());
    let flaky = bench.flaky();
    flaky.claims.go(AWAY);
    let worker = start(flaky.clone(), gated(&gate, &inside), |builder| builder);
    let failed = until(&bench, "a failed claim is told", |live| {
        live.first().is_some_and(|worker| worker.report.last_claim.error.is_some())
    })
    .await;
    let trouble = failed[0].trouble(Duration::from_secs(10)).unwrap();
    assert!(trouble.starts_with("its last claim failed: "), "{trouble}");
    flaky.claims.go(Mode::Well);
    until(&bench, "an answered claim is told", |live| {
        live.first().is_some_and(|worker| worker.trouble(Duration::from_secs(10)).is_none())
    })
    .await;
    worker.stop().await;
}
