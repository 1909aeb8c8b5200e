//! What there is in the server for a namespace and its queues: which queues and exchanges, with which arguments. None depends on
//! who creates them, as the server refuses any difference.

use lapin::{
    Channel, ExchangeKind, Queue,
    options::{ExchangeDeclareOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{
    class::Class,
    difference::Shape,
    directory::{Directory, Entry},
    names::Names,
};
use crate::QueueName;

/// How often a quorum queue may hand a message out before it throws it away: never, as far as we are concerned. Tasks
/// that are handed out too often are buried by the session that gets them.
pub(super) const DELIVERY_LIMIT: i64 = 1_000_000;

/// How long a delivery may stay unacknowledged, in milliseconds, where the server lets a queue say so (3.12 and up): as long
/// as it can be said. Who is dead is known by its connection.
const CONSUMER_TIMEOUT: i64 = i32::MAX as i64;

/// How long a queue of holders outlives the last of them, in milliseconds.
const HOLDERS_EXPIRE: i64 = 60_000;

/// A queue or an exchange of the server, as this version makes it.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) name: ShortString,
    pub(super) role: Role,
    pub(super) arguments: FieldTable,
}

/// What something in the server is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A queue of tasks that are ready or leased.
    Work,
    /// A queue of tasks that wait for their time.
    Line,
    /// A queue of tasks that were given up.
    Dead,
    /// The queue of one message that tells which queues there are.
    Directory,
    /// The queue of tasks that found no other one.
    Unrouted,
    /// A queue without messages, whose consumers are counted.
    Holders,
    /// An exchange of this kind.
    Exchange(ExchangeKind),
}

impl Planned {
    pub(super) fn work(names: &Names, queue: &QueueName, class: Class) -> Self {
        let mut arguments = careful(&"".into(), Some(&names.dead(queue)), None);
        arguments.insert("x-consumer-timeout".into(), AMQPValue::LongLongInt(CONSUMER_TIMEOUT));
        Self { name: names.work(queue, class), role: Role::Work, arguments }
    }

    pub(super) fn line(names: &Names, queue: &QueueName, level: u32) -> Self {
        let arguments = careful(&names.below(level), None, Some(1000 << level));
        Self { name: names.line(queue, level), role: Role::Line, arguments }
    }

    pub(super) fn dead(names: &Names, queue: &QueueName) -> Self {
        Self { name: names.dead(queue), role: Role::Dead, arguments: quorum() }
    }

    pub(super) fn directory(names: &Names) -> Self {
        Self { name: names.directory(), role: Role::Directory, arguments: quorum() }
    }

    pub(super) fn unrouted(names: &Names) -> Self {
        Self { name: names.unrouted(), role: Role::Unrouted, arguments: quorum() }
    }

    pub(super) fn holders(names: &Names, queue: &QueueName) -> Self {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), text("classic"));
        arguments.insert("x-expires".into(), AMQPValue::LongLongInt(HOLDERS_EXPIRE));
        Self { name: names.holders(queue), role: Role::Holders, arguments }
    }

    /// What finds no queue by it comes back to who publishes: it is closed, or not opened yet.
    pub(super) fn open(names: &Names) -> Self {
        Self::exchange(names.open(), ExchangeKind::Direct)
    }

    /// An exchange from which what finds no queue vanishes; or who publishes hears of it.
    pub(super) fn exchange(name: ShortString, kind: ExchangeKind) -> Self {
        Self { name, role: Role::Exchange(kind), arguments: FieldTable::default() }
    }

    /// An exchange that lets nothing vanish: what finds no queue by it goes to those that found none.
    pub(super) fn exchange_or_unrouted(names: &Names, name: ShortString) -> Self {
        let mut arguments = FieldTable::default();
        arguments.insert("alternate-exchange".into(), text(names.unrouted().as_str()));
        Self { name, role: Role::Exchange(ExchangeKind::Topic), arguments }
    }

    /// Declares it on a channel, with all its arguments; tells how a queue stands. The server closes the channel if it is there otherwise.
    pub(super) async fn declare(&self, channel: &Channel, shape: Shape) -> lapin::Result<Option<Queue>> {
        let (name, arguments) = (self.name.clone(), self.arguments.clone());
        let Shape { passive, durable, auto_delete } = shape;
        if let Role::Exchange(kind) = &self.role {
            let options =
                ExchangeDeclareOptions { passive, durable, auto_delete, ..ExchangeDeclareOptions::default() };
            return channel.exchange_declare(name, kind.clone(), options, arguments).await.map(|()| None);
        }
        let options = QueueDeclareOptions { passive, durable, auto_delete, ..QueueDeclareOptions::default() };
        channel.queue_declare(name, options, arguments).await.map(Some)
    }

    /// Whether it need not be there, though the directory says that its queue is used.
    pub(super) fn may_be_missing(&self) -> bool {
        self.role == Role::Holders
    }
}

/// All that is there for a namespace with such a directory.
pub(super) fn of_namespace(names: &Names, directory: &Directory) -> Vec<Planned> {
    let queues = directory.names(None, usize::MAX);
    let entries: Vec<_> =
        queues.iter().filter_map(|queue| directory.get(queue).map(|entry| (queue, entry))).collect();
    let mut all = vec![
        Planned::directory(names),
        Planned::exchange(names.news(), ExchangeKind::Fanout),
        Planned::exchange(names.replies(), ExchangeKind::Direct),
    ];
    if !entries.is_empty() {
        all.push(Planned::exchange_or_unrouted(names, names.due()));
        all.push(Planned::open(names));
    }
    if let Some(highest) = entries.iter().filter_map(|(_, entry)| entry.steps.last()).max() {
        all.push(Planned::unrouted(names));
        all.push(Planned::exchange(names.unrouted(), ExchangeKind::Fanout));
        all.push(Planned::exchange(names.delay(), ExchangeKind::Topic));
        all.extend((0..=*highest).map(|level| Planned::exchange_or_unrouted(names, names.step(level))));
    }
    all.extend(entries.into_iter().flat_map(|(queue, entry)| of_queue(names, queue, entry)));
    all
}

fn of_queue(names: &Names, queue: &QueueName, entry: &Entry) -> Vec<Planned> {
    let mut all: Vec<_> =
        Class::of_queue(entry.order()).map(|class| Planned::work(names, queue, class)).collect();
    all.push(Planned::dead(names, queue));
    all.extend(entry.steps.iter().map(|level| Planned::line(names, queue, *level)));
    all.push(Planned::holders(names, queue));
    all
}

pub(super) fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
    arguments
}

/// A quorum queue that throws nothing away, whatever policy an operator sets: what it gives up goes to this exchange, under this
/// key or the one that it came by, also after so many milliseconds if there are any. The server waits for the confirm.
fn careful(to: &ShortString, key: Option<&ShortString>, after: Option<i64>) -> FieldTable {
    let mut arguments = quorum();
    arguments.insert("x-dead-letter-exchange".into(), text(to.as_str()));
    if let Some(key) = key {
        arguments.insert("x-dead-letter-routing-key".into(), text(key.as_str()));
    }
    if let Some(after) = after {
        arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(after));
    }
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{Namespace, Order, QueueOptions, backends::rabbitmq::directory::Change};

    #[test]
    fn a_namespace_has_what_its_queues_need() {
        let names = Names::new(&Namespace::default());
        let planned = |directory: &Directory| -> Vec<String> {
            of_namespace(&names, directory).iter().map(|planned| planned.name.to_string()).collect()
        };
        let mut directory = Directory::default();
        assert_eq!(planned(&directory), ["mh:mh:directory", "mh:mh:news", "mh:mh:replies"]);
        let queue = QueueName::new("q").unwrap();
        directory
            .apply(&Change::Configure(queue.clone(), QueueOptions::default().with_order(Order::Priority)));
        directory.apply(&Change::Wait(queue, BTreeSet::from([0, 2])));
        let all = planned(&directory);
        for name in ["work:q", "work-3:q", "dead:q", "delay-1s:q", "delay-4s:q", "delay-2s", "unrouted"] {
            assert!(all.contains(&format!("mh:mh:{name}")), "{name}: {all:?}");
        }
        assert!(!all.contains(&"mh:mh:delay-2s:q".to_owned()), "{all:?}");
    }
}
