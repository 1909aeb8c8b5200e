//! A worker dies between the answer to a waiting sender and the acknowledgement of the task.

use std::{path::Path, sync::Arc};

use manyhands_broker::{
    BrokerExt, End, NewTask, Outcome as Became, Payload, Settled, Task, TaskId, Wanted, crash::Point,
};
use manyhands_test_support::{
    checker::{self, Pair},
    ledger::{Answer, Ledger, Outcome, Run},
};
use manyhands_worker::{App, Context, Observer, Running, Shutdown, TaskError, Worker};
use serde::{Deserialize, Serialize};

use super::{Child, PATIENCE, Plan, TASKS, drain, enqueue, ledgers, namespace, queue, session, task};

#[derive(Deserialize, Serialize)]
struct Work;

impl Task for Work {
    const NAME: &'static str = "work";
    const QUEUE: &'static str = "q";
    type Output = u32;
}

/// Writes down what becomes of the runs.
#[derive(Debug)]
struct Clerk(Arc<Ledger>);

impl Observer for Clerk {
    fn started(&self, run: &Running<'_>) {
        let lease = &run.task.lease;
        self.0.begin(&Run::new(lease.id.to_string(), lease.epoch)).unwrap();
    }

    fn settled(&self, run: &Running<'_>, answer: Settled) {
        let lease = &run.task.lease;
        let answer = if answer == Settled::Settled { Answer::Accepted } else { Answer::Refused };
        self.0.end(&Run::new(lease.id.to_string(), lease.epoch), answer).unwrap();
    }
}

/// Works until the queue ended. Each task hands one on, and its result is the process that ran it.
async fn work(url: &str, ledger: Arc<Ledger>) {
    let clerk = Arc::new(Clerk(Arc::clone(&ledger)));
    let handler = move |_: Work, ctx: Context| {
        let ledger = Arc::clone(&ledger);
        async move {
            ctx.then_task(NewTask::new(
                queue("next"),
                manyhands_broker::TaskName::new("work")?,
                Payload::encode(&ctx.id().to_string())?,
            ))?;
            ledger.done(&Run::new(ctx.id().to_string(), ctx.fence())).unwrap();
            Ok::<_, TaskError>(std::process::id())
        }
    };
    let app = App::new().handle(handler);
    let worker = Worker::builder(session(url).await).app(app).concurrency(TASKS);
    worker.until_ended(true).observer(clerk).build().unwrap().run(&Shutdown::new()).await.unwrap();
}

pub(crate) async fn child(child: &Child) {
    work(&child.url, child.arm()).await;
}

pub(crate) async fn trial(plan: &Plan) {
    let (folder, own) = ledgers();
    let url = namespace();
    let sender = session(&url).await;
    let tasks: Vec<_> = (0..TASKS).map(|_| task("q", "work").with_result(Wanted::Reply)).collect();
    let ids = enqueue(&*sender, &tasks).await;
    ids.iter().for_each(|id| own.sent(id.to_string(), Outcome::Confirmed).unwrap());
    sender.close(&queue("q")).await.unwrap();
    Child { plan: plan.clone(), url: url.clone(), folder: folder.path().to_owned(), ids: ids.clone() }.die();
    work(&url, Arc::new(own)).await;

    let report = checker::check(folder.path()).unwrap();
    assert_eq!(
        (&report.lost, &report.overlapping, &report.stale, &report.reused),
        (&vec![], &vec![], &vec![], &vec![])
    );
    for Pair { first, .. } in &report.doubled {
        assert!(report.unsettled.contains(first), "settled, and run again: {first:?}");
    }
    assert_eq!((report.confirmed, report.unknown), (TASKS, 0), "{report}");
    let mut twice = 0;
    for id in &ids {
        let ran_by = runs(folder.path(), id);
        let became = sender.outcome(&queue("q"), id, PATIENCE).await.unwrap();
        let Became::Done(result) = became else { panic!("{id} became {became:?}, run by {ran_by:?}") };
        let told: u32 = result.decode().unwrap();
        assert!(ran_by.contains(&told), "{told} answered for {id}, and {ran_by:?} ran it");
        if ran_by.len() > 1 {
            // Where the first one had answered, that stands.
            twice += usize::from(told != std::process::id());
        }
    }
    match plan.point() {
        Point::RabbitMqEndsStored => assert!(twice > 0, "none was answered for, and run again: {report}"),
        Point::RabbitMqEndsTaken => {
            assert_eq!(twice, 0, "what the server has taken is not run again: {report}");
        }
        _ => {}
    }
    // What was handed on is there for each; twice where the parent ran twice.
    let next = drain(&*sender, "next", End::complete(Vec::new())).await;
    let mut parents: Vec<String> = next.iter().map(|task| task.payload.decode().unwrap()).collect();
    parents.sort();
    parents.dedup();
    let mut expected: Vec<_> = ids.iter().map(ToString::to_string).collect();
    expected.sort();
    assert_eq!(parents, expected, "whose children are there");
    let status = sender.status(&queue("q")).await.unwrap().unwrap();
    assert_eq!((status.unsettled(), status.dead), (0, 0));
}

/// The processes that ran a task to its end, by their ledgers.
fn runs(folder: &Path, id: &TaskId) -> Vec<u32> {
    use manyhands_test_support::ledger::Record;

    let files = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()));
    let lines = files.flat_map(|text| text.unwrap().lines().map(str::to_owned).collect::<Vec<_>>());
    let records = lines.map(|line| serde_json::from_str::<Record>(&line).unwrap());
    let done = records.filter_map(|record| match record {
        Record::Done { run, .. } if run.id == id.to_string() => Some(run.pid),
        _ => None,
    });
    done.collect()
}
