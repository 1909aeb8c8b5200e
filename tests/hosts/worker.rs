//! What a worker's program does on its host.

use std::{sync::Arc, time::Duration};

use manyhands::{App, Context, Ending, Observer, Running, Shutdown, Task, TaskError, Worker};
use manyhands_broker::Settled;
use manyhands_test_support::ledger::{Answer, Ledger, Run};
use serde::{Deserialize, Serialize};

use crate::{Role, insist, runtime, say};

/// What a worker runs at a time.
const SLOTS: usize = 4;

/// What is sent.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Work {
    pub(crate) number: usize,
    /// How long it takes.
    pub(crate) ms: u64,
}

impl Task for Work {
    const NAME: &'static str = "work";
    const QUEUE: &'static str = "work";
    type Output = ();
}

/// Writes down what becomes of the runs, and says it.
#[derive(Debug)]
struct Clerk(Arc<Ledger>);

impl Clerk {
    fn end(&self, run: &Running<'_>, answer: Answer) {
        let lease = &run.task.lease;
        self.0.end(&Run::new(lease.id.to_string(), lease.epoch), answer).unwrap();
        say(if answer == Answer::Accepted { "settled" } else { "refused" }, &lease.id);
    }
}

impl Observer for Clerk {
    /// A run whose lease was given up meanwhile is refused before the broker is asked: it cannot hold any more.
    fn ended(&self, run: &Running<'_>, ending: &Ending, _took: Duration) {
        if *ending == Ending::Lost {
            self.end(run, Answer::Refused);
        }
    }

    fn settled(&self, run: &Running<'_>, answer: Settled) {
        self.end(run, if answer == Settled::Settled { Answer::Accepted } else { Answer::Refused });
    }
}

/// Works until the queue ended. Its handler blocks a thread, so that nothing stops it: a host that is cut off works on.
pub(crate) fn work(role: &Role) {
    let ledger = Arc::new(Ledger::open(&role.folder, "worker").unwrap());
    let clerk = Arc::new(Clerk(Arc::clone(&ledger)));
    let handler = move |Work { ms, .. }: Work, ctx: &Context| {
        let run = Run::new(ctx.id().to_string(), ctx.fence());
        ledger.begin(&run).unwrap();
        say("begin", format_args!("{} {ms}", run.id));
        #[expect(clippy::disallowed_methods, reason = "the work takes its time")]
        std::thread::sleep(Duration::from_millis(ms));
        ledger.done(&run).unwrap();
        say("done", &run.id);
        Ok::<_, TaskError>(())
    };
    runtime().block_on(async {
        let broker = insist(async || manyhands::connect(&role.url.parse()?).await).await;
        let worker = Worker::builder(broker)
            .app(App::new().handle_blocking(handler))
            .threads(SLOTS)
            .lease(role.lease)
            .until_ended(true)
            .observer(clerk);
        worker.build().unwrap().run(&Shutdown::new()).await.unwrap();
    });
}
