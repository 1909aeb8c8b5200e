//! What a child does, until it dies.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use manyhands_broker::{
    Beat, Beaten, Broker, Claim, ClaimedTask, End, Enqueued, ErrorKind, NewTask, QueueOptions, Settled,
    Settlement, TaskName, Token,
    crash::{Point, arm, passed},
    limits,
};
use manyhands_producer::Client;
use manyhands_test_support::kill;
use manyhands_worker::{Shutdown, Worker};
use rusqlite::Connection;

use crate::{
    plan::{Child, Moment, Plan},
    queue, session,
    told::{Call, Diary, How, Line, Name, Run},
    until,
    work::{Clerk, Work, app, batch, children, new_task},
};

/// The queues of the load; some exist only when a parent was settled.
pub(crate) const QUEUES: [&str; 7] = ["plain", "next", "many", "pack", "keyed", "short", "work"];

/// One more than a call takes.
const MANY: usize = limits::MAX_BATCH + 1;

/// How long the other threads go on: enough for a line in the ledger.
const LATE: Duration = Duration::from_millis(30);

/// The lease of the worker: a third of it is how long until it is renewed first.
const LEASE: Duration = Duration::from_millis(600);

/// A child under way.
struct Load {
    plan: Plan,
    store: PathBuf,
    diary: Arc<Diary>,
    /// Those that ended once.
    ran: BTreeSet<Name>,
    /// How many sessions have ended.
    ended: u32,
    /// The passage of the point at which this process dies, when its moment has come.
    last: Option<u32>,
}

/// Passes every crash point, and dies at one of them.
pub(crate) async fn run(child: &Child) {
    let plan = child.plan.clone();
    let diary = Arc::new(Diary::open(&child.ledger()));
    let mut load = Load { plan, store: child.store(), diary, ran: BTreeSet::new(), ended: 0, last: None };
    load.at(Moment::Start);
    let broker = session(&load.store).await.unwrap();
    load.declare(&*broker).await;
    load.at(Moment::Send);
    load.send(&broker).await;
    load.together(&*broker).await;
    load.settle_in_every_way(&broker).await;
    load.forget(&*broker).await;
    load.lose_a_session(&*broker).await;
    let broker = load.reboot(broker).await;
    load.work(&broker).await;
    load.end(broker).await;
}

impl Load {
    /// From here on the passages count.
    fn at(&mut self, moment: Moment) {
        if self.plan.moment == moment {
            let point = self.plan.point();
            let last = passed(point) + self.plan.passage;
            self.last = Some(last);
            arm(point, last, if self.plan.late { die_late } else { die });
        }
    }

    async fn declare(&self, broker: &dyn Broker) {
        let (name, options) = (queue("plain"), QueueOptions::default().with_capacity(50));
        let status = broker.declare(&name, Some(&options)).await.unwrap();
        let capacity = status.options.capacity;
        self.diary.note(&Line::Declared { queue: name.to_string(), capacity });
        let refused = broker.declare(&name, Some(&options.with_capacity(51))).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
    }

    /// As a producer does: one by one, many at a time, and one again.
    async fn send(&self, broker: &Arc<dyn Broker>) {
        let client = Client::new(Arc::clone(broker));
        let ends = [How::Complete, How::Retry, How::Bury, How::Release, How::Park, How::Complete];
        let mut works: Vec<_> = (1..).zip(ends).map(|(n, how)| (given("plain", n), Work::new(how))).collect();
        works[0].1 = Work::parent(&works[0].0, &["next", "next", "plain"]);
        for (name, work) in &works {
            self.send_one(&client, name, work).await;
        }
        let (name, work) = &works[0];
        self.send_one(&client, name, work).await;

        let task = |_| NewTask::new(queue("many"), TaskName::new("work").unwrap(), new_payload());
        let tasks: Vec<_> = (0..MANY).map(task).collect();
        let names: Vec<_> = tasks.iter().map(|task| Name::new("many", &task.id)).collect();
        // The parts are calls of their own.
        names.chunks(limits::MAX_BATCH).for_each(|part| self.diary.note(&Line::Enqueue(part.to_vec())));
        let answers = client.send_all(&tasks).await.unwrap();
        assert_eq!(answers, vec![Enqueued::Enqueued; MANY]);
        self.diary.note(&Line::Enqueued(names));

        // A call whose tasks end in different ways.
        let task = |how| {
            let payload = manyhands_broker::Payload::encode(&Work::new(how)).unwrap();
            NewTask::new(queue("pack"), TaskName::new("work").unwrap(), payload)
        };
        let tasks = ends.map(task);
        let names: Vec<_> = tasks.iter().map(|task| Name::new("pack", &task.id)).collect();
        self.diary.note(&Line::Enqueue(names.clone()));
        assert_eq!(client.send_all(&tasks).await.unwrap(), vec![Enqueued::Enqueued; tasks.len()]);
        self.diary.note(&Line::Enqueued(names));
    }

    async fn send_one(&self, client: &Client, name: &Name, work: &Work) {
        self.diary.note(&Line::Enqueue(vec![name.clone()]));
        client.send_task(new_task(name, work)).await.unwrap();
        self.diary.note(&Line::Enqueued(vec![name.clone()]));
    }

    /// Tasks that belong together, of which one runs at a time and not at once after another, from a call that is made twice.
    async fn together(&mut self, broker: &dyn Broker) {
        let name = queue("keyed");
        let options = QueueOptions::default().with_key_limit(1).with_key_interval(Duration::from_millis(1));
        broker.declare(&name, Some(&options)).await.unwrap();
        let names: Vec<_> = (1..=3).map(|number| given("keyed", number)).collect();
        let call = Call::new(Token::next(broker.incarnation()), &names);
        self.diary.note(&Line::Call(call.clone()));
        for _ in 0..2 {
            let answers = broker.enqueue(&call.tasks(), Some(call.token())).await.unwrap();
            assert_eq!(answers, [Enqueued::Enqueued, Enqueued::Enqueued, Enqueued::Enqueued]);
        }
        self.diary.note(&Line::Enqueued(names.clone()));
        let mut left = names.len();
        while left > 0 {
            let tasks = self.claim(broker, "keyed", 9).await;
            let Some(task) = tasks.first() else {
                let _ = tokio::time::timeout(crate::LOOK, broker.wait(std::slice::from_ref(&name))).await;
                continue;
            };
            assert_eq!(tasks.len(), 1, "one of the key at a time");
            let progress = Some(manyhands_broker::Payload::encode(&left).unwrap());
            let beat = Beat { lease: task.lease.clone(), progress };
            assert_eq!(broker.beat(&[beat], limits::LEASE).await.unwrap(), [Beaten::Kept]);
            self.settle(broker, &tasks).await;
            left -= 1;
        }
        let status = broker.batch(&batch()).await.unwrap().unwrap();
        assert_eq!((status.unsettled, status.done), (0, 3));
    }

    async fn claim(&self, broker: &dyn Broker, from: &str, max: usize) -> Vec<ClaimedTask> {
        let tasks = broker.claim(&Claim::new(queue(from), max)).await.unwrap().tasks;
        tasks.iter().for_each(|task| self.diary.note(&Line::Claimed(Run::of(&task.lease))));
        tasks
    }

    /// Ends tasks in one call: the first time as they say, then by completing them.
    async fn settle(&mut self, broker: &dyn Broker, tasks: &[ClaimedTask]) {
        let mut settlements = Vec::new();
        for ClaimedTask { lease, payload, .. } in tasks {
            let (work, run) = (payload.decode::<Work>().unwrap(), Run::of(lease));
            let first = self.ran.insert(run.task.clone());
            let how = if first { work.how } else { How::Complete };
            let (end, handed) = match how {
                How::Complete => (End::complete(children(&work)), work.children),
                How::Retry => {
                    let delay = Duration::from_millis(1);
                    (End::Retry { error: "it failed".to_owned(), delay }, Vec::new())
                }
                How::Bury => (End::Bury { error: "it cannot succeed".to_owned() }, Vec::new()),
                How::Release => (End::Release, Vec::new()),
                How::Park => (End::Park, Vec::new()),
            };
            self.diary.note(&Line::Settle { run, how, children: handed });
            settlements.push(Settlement::new(lease.clone(), end));
        }
        let answers = broker.settle(&settlements).await.unwrap();
        assert_eq!(answers, vec![Settled::Settled; tasks.len()]);
        tasks.iter().for_each(|task| self.diary.note(&Line::Settled(Run::of(&task.lease))));
    }

    async fn settle_in_every_way(&mut self, broker: &Arc<dyn Broker>) {
        self.at(Moment::Claim);
        let tasks = self.claim(&**broker, "plain", 6).await;
        assert_eq!(tasks.len(), 6);
        let (first, rest) = tasks.split_at(1);
        let leases: Vec<_> = rest.iter().map(|task| task.lease.clone()).collect();
        assert_eq!(broker.beat(&Beat::all(&leases), limits::LEASE).await.unwrap(), [Beaten::Kept; 5]);
        self.at(Moment::Settle);
        self.settle(&**broker, first).await;
        self.settle(&**broker, rest).await;
        // Those that were given back, put off and handed on; not the one that is parked for a second.
        let mut left = BTreeSet::from(["plain-2", "plain-4", "plain-1/2"].map(str::to_owned));
        while !left.is_empty() {
            let tasks = self.claim(&**broker, "plain", 9).await;
            if tasks.is_empty() {
                let changed = broker.wait(&[queue("plain")]);
                let _ = tokio::time::timeout(crate::LOOK, changed).await;
                continue;
            }
            self.settle(&**broker, &tasks).await;
            for task in &tasks {
                left.remove(&task.lease.id.to_string());
            }
        }
        self.settle_a_pack(&**broker).await;
        // Several at once, so that groups have more than one call.
        let tasks = self.claim(&**broker, "many", 3).await;
        let more = given("plain", 7);
        self.diary.note(&Line::Enqueue(vec![more.clone()]));
        let enqueue = async {
            let task = new_task(&more, &Work::parent(&more, &["next"]));
            assert_eq!(broker.enqueue(&[task], None).await.unwrap(), [Enqueued::Enqueued]);
            self.diary.note(&Line::Enqueued(vec![more.clone()]));
        };
        let claim = self.claim(&**broker, "many", 3);
        let renewed = [Beat::from(tasks[0].lease.clone())];
        let beat = broker.beat(&renewed, limits::LEASE);
        let ((), others, beaten) = tokio::join!(enqueue, claim, beat);
        assert_eq!((others.len(), beaten.unwrap()), (3, vec![Beaten::Kept]));
        self.settle(&**broker, &tasks).await;
    }

    /// Tasks of one call, claimed in two, of which one is renewed alone; all end but the one that is buried.
    async fn settle_a_pack(&mut self, broker: &dyn Broker) {
        let [first, rest] = [self.claim(broker, "pack", 4).await, self.claim(broker, "pack", 9).await];
        assert_eq!((first.len(), rest.len()), (4, 2));
        let alone = [Beat::from(rest[0].lease.clone())];
        assert_eq!(broker.beat(&alone, limits::LEASE).await.unwrap(), [Beaten::Kept]);
        self.settle(broker, &first).await;
        self.settle(broker, &rest).await;
        // Those that failed and were given back; not the one that is parked for a second.
        let mut left = 2_usize;
        while left > 0 {
            let tasks = self.claim(broker, "pack", 9).await;
            if tasks.is_empty() {
                let _ = tokio::time::timeout(crate::LOOK, broker.wait(&[queue("pack")])).await;
                continue;
            }
            self.settle(broker, &tasks).await;
            // On a slow machine the parked one is among them.
            left = left.saturating_sub(tasks.len());
        }
    }

    /// A queue that forgets ids soon lets one in again.
    async fn forget(&mut self, broker: &dyn Broker) {
        let (name, options) =
            (given("short", 1), QueueOptions::default().with_remember_ids(Duration::from_millis(1)));
        broker.declare(&queue("short"), Some(&options)).await.unwrap();
        let task = new_task(&name, &Work::new(How::Complete));
        for again in [false, true] {
            self.diary.note(&Line::Enqueue(vec![name.clone()]));
            until("the id is forgotten", async || {
                let answers = broker.enqueue(std::slice::from_ref(&task), None).await.unwrap();
                answers == [Enqueued::Enqueued]
            })
            .await;
            self.diary.note(&Line::Enqueued(vec![name.clone()]));
            if !again {
                let tasks = self.claim(broker, "short", 1).await;
                self.settle(broker, &tasks).await;
            }
        }
    }

    /// A session ends that holds a task: the others take it back.
    async fn lose_a_session(&mut self, broker: &dyn Broker) {
        let other = session(&self.store).await.unwrap();
        let lost = self.claim(&*other, "next", 1).await;
        assert_eq!(lost.len(), 1);
        drop(other);
        self.session_ended().await;
        let leased = async || broker.status(&queue("next")).await.unwrap().unwrap().leased;
        until("what a lost session held is taken back", async || leased().await == 0).await;
        let file = self.store.join("mh/incarnations").join(lost[0].lease.incarnation.to_string());
        until("a lost session is forgotten", async || !file.exists()).await;
    }

    /// What the next start of the machine finds: a lease of the last boot, though its holder's lock says that it lives.
    async fn reboot(&mut self, old: Arc<dyn Broker>) -> Arc<dyn Broker> {
        let held = self.claim(&*old, "next", 1).await;
        assert_eq!(held.len(), 1);
        let database = Connection::open(self.store.join("mh/tasks.db")).unwrap();
        database.busy_timeout(crate::PATIENCE).unwrap();
        assert_eq!(database.execute("UPDATE meta SET boot = 'the last one'", []).unwrap(), 1);
        drop(database);
        let new = session(&self.store).await.unwrap();
        let tasks = self.claim(&*new, "next", 1).await;
        assert_eq!(tasks[0].lease.id, held[0].lease.id, "a lease of the last boot is void");
        let late = Settlement::new(held[0].lease.clone(), End::complete(Vec::new()));
        assert_eq!(old.settle(&[late]).await.unwrap(), [Settled::Lost]);
        drop(old);
        self.session_ended().await;
        self.settle(&*new, &tasks).await;
        new
    }

    /// A worker ends its queue.
    async fn work(&mut self, broker: &Arc<dyn Broker>) {
        let client = Client::new(Arc::clone(broker));
        let ends = [How::Complete, How::Retry, How::Bury, How::Complete, How::Complete, How::Complete];
        let mut works: BTreeMap<_, _> =
            (1..).zip(ends).map(|(n, how)| (given("work", n), Work::new(how))).collect();
        for (name, work) in works.iter_mut().filter(|(_, work)| work.how == How::Complete) {
            *work = Work::parent(name, &["work", "next"]);
        }
        works.get_mut(&given("work", 6)).unwrap().long = true;
        for (name, work) in &works {
            self.send_one(&client, name, work).await;
        }
        self.diary.note(&Line::Close("work".to_owned()));
        client.close(&queue("work")).await.unwrap();
        self.diary.note(&Line::Closed("work".to_owned()));
        let clerk = Clerk::new(Some(Arc::clone(&self.diary)));
        let worker = Worker::builder(Arc::clone(broker))
            .app(app(&clerk))
            .concurrency(4)
            .lease(LEASE)
            .until_ended(true)
            .observer(clerk)
            .build()
            .unwrap();
        self.at(Moment::Work);
        worker.run(&Shutdown::new()).await.unwrap();
    }

    async fn end(&mut self, broker: Arc<dyn Broker>) {
        drop(broker);
        self.session_ended().await;
        if self.last.is_some_and(|last| passed(self.plan.point()) >= last) {
            // In the moment before the end.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until one more session has closed the database.
    async fn session_ended(&mut self) {
        self.ended += 1;
        until("a session ends", async || passed(Point::WriterEnded) >= self.ended).await;
    }
}

/// Ends this process as an operator or the kernel would: nothing is run, dropped or flushed.
fn die() {
    kill::send(std::process::id(), kill::Signal::KILL).unwrap();
    // Only the signal ends this thread.
    loop {
        std::thread::park();
    }
}

/// Lets the other threads go on for a moment.
#[expect(clippy::disallowed_methods, reason = "that nothing happens meanwhile is what is awaited")]
fn die_late() {
    std::thread::sleep(LATE);
    die();
}

/// A task that has a number.
fn given(queue: &str, number: usize) -> Name {
    Name::new(queue, format!("{queue}-{number}"))
}

fn new_payload() -> manyhands_broker::Payload {
    manyhands_broker::Payload::encode(&Work::new(How::Complete)).unwrap()
}
