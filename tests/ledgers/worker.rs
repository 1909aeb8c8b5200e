//! What a worker process does.

use std::{fs::File, io::Write, path::Path, sync::Arc, time::Duration};

use manyhands::{App, Context, Observer, Running, Shutdown, Task, TaskError, Worker};
use manyhands_broker::{
    Settled,
    crash::{Point, arm},
};
use manyhands_test_support::ledger::{Answer, Ledger, Run};
use serde::{Deserialize, Serialize};

use crate::{insist, runtime};

/// What makes a test a worker, and where it keeps its ledger.
pub(crate) const BROKER: &str = "MANYHANDS_TEST_LEDGERS_BROKER";
pub(crate) const FOLDER: &str = "MANYHANDS_TEST_LEDGERS_FOLDER";

/// What makes a worker stand still at a point, which is passed so often: `settler.asking#2`.
pub(crate) const POINT: &str = "MANYHANDS_TEST_LEDGERS_POINT";

/// What a worker runs at a time.
pub(crate) const SLOTS: usize = 4;

/// How long a lease lasts: on Redis, until somebody else runs what the dead held.
const LEASE: Duration = Duration::from_secs(2);

/// What is sent.
#[derive(Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) number: usize,
    /// Whether it never ends where it begins first: who runs it must be killed.
    pub(crate) held: bool,
}

impl Task for Work {
    const NAME: &'static str = "work";
    type Output = ();
}

/// A run that is in the ledger; dropped before it is done, it failed.
struct Begun {
    ledger: Arc<Ledger>,
    run: Run,
    done: bool,
}

impl Begun {
    fn new(ledger: &Arc<Ledger>, ctx: &Context) -> Self {
        let run = Run::new(ctx.id().to_string(), ctx.fence());
        ledger.begin(&run).unwrap();
        Self { ledger: Arc::clone(ledger), run, done: false }
    }

    fn done(mut self) {
        self.ledger.done(&self.run).unwrap();
        self.done = true;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.done {
            self.ledger.failed(&self.run).unwrap();
        }
    }
}

/// Writes down what the broker says to settlements.
#[derive(Debug)]
struct Clerk(Arc<Ledger>);

impl Observer for Clerk {
    fn settled(&self, run: &Running<'_>, answer: Settled) {
        let lease = &run.task.lease;
        let answer = if answer == Settled::Settled { Answer::Accepted } else { Answer::Refused };
        self.0.end(&Run::new(lease.id.to_string(), lease.epoch), answer).unwrap();
    }
}

/// In a worker: works until the queue ended. False in the test that starts it.
pub(crate) fn worked() -> bool {
    let Ok(url) = std::env::var(BROKER) else { return false };
    let folder = std::env::var_os(FOLDER).unwrap();
    let ledger = Arc::new(Ledger::open(Path::new(&folder), "worker").unwrap());
    if let Ok(place) = std::env::var(POINT) {
        let (name, passage) = place.split_once('#').unwrap();
        let point = Point::ALL.iter().find(|point| point.name() == name).unwrap();
        arm(*point, passage.parse().unwrap(), stand_still);
    }
    let clerk = Arc::new(Clerk(Arc::clone(&ledger)));
    let work = move |Work { number, held }: Work, ctx: Context| {
        let ledger = Arc::clone(&ledger);
        let mark = Path::new(&folder).join(format!("held-{number}"));
        async move {
            let begun = Begun::new(&ledger, &ctx);
            if held && File::create_new(mark).is_ok() {
                say("held", ctx.id());
                std::future::pending::<()>().await;
            }
            // So that there is something to be killed, and never the same.
            tokio::time::sleep(Duration::from_millis(2 + number as u64 % 7)).await;
            begun.done();
            say("done", ctx.id());
            Ok::<_, TaskError>(())
        }
    };
    runtime().block_on(async {
        let broker = insist(async || manyhands::connect(&url.parse()?).await).await;
        let worker = Worker::builder(broker)
            .app(App::new().handle(work))
            .concurrency(SLOTS)
            .lease(LEASE)
            .until_ended(true)
            .observer(clerk);
        worker.build().unwrap().run(&Shutdown::new()).await.unwrap();
    });
    say("ended", "");
    true
}

/// Says so, and waits to be killed.
fn stand_still() {
    say("between", "");
    loop {
        std::thread::park();
    }
}

/// In a worker: tells the test, in one write. `println` would write the two lines one after the other, and the test harness of another worker, which begins with half a line,
/// could come between.
fn say(word: &str, what: impl std::fmt::Display) {
    let lines = format!("\n@{word} {} {what}\n", std::process::id());
    std::io::stdout().lock().write_all(lines.as_bytes()).unwrap();
}
