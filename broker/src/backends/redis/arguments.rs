//! What the scripts are told of many tasks, by runs: what those of a run have in common, how many they are, and what each has of its own.

use std::{collections::HashSet, time::Duration};

use super::{
    body,
    keys::{self, Queues},
};
use crate::{Beat, End, Incarnation, Lease, NewTask, Payload, Result, Settlement, clock::millis};

/// An argument.
pub(super) fn text(value: impl ToString) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// Arguments, and the run that is not ended: what it has in common, where its count stands, and the count.
struct Runs<H> {
    arguments: Vec<Vec<u8>>,
    open: Option<(H, usize, usize)>,
}

impl<H: PartialEq> Runs<H> {
    fn after(arguments: Vec<Vec<u8>>) -> Self {
        Self { arguments, open: None }
    }

    /// Adds one to the run, or begins another one with these arguments in common.
    fn add<const N: usize, const M: usize>(
        &mut self,
        head: H,
        common: impl FnOnce(&H) -> [Vec<u8>; N],
        own: [Vec<u8>; M],
    ) {
        match &mut self.open {
            Some((open, _, count)) if *open == head => *count += 1,
            _ => {
                self.end_run();
                self.arguments.extend(common(&head));
                self.arguments.push(Vec::new());
                self.open = Some((head, self.arguments.len() - 1, 1));
            }
        }
        self.arguments.extend(own);
    }

    fn end_run(&mut self) {
        if let Some((_, place, count)) = self.open.take() {
            self.arguments[place] = text(count);
        }
    }

    fn into_arguments(mut self) -> Vec<Vec<u8>> {
        self.end_run();
        self.arguments
    }
}

/// Those of `enqueue_plain.lua`, after these. `reply` says which session is told what becomes of a task.
pub(super) fn enqueue<'a>(
    before: Vec<Vec<u8>>,
    tasks: &'a [NewTask],
    queues: &mut Queues<'a>,
    reply: impl Fn(&NewTask) -> Option<Incarnation>,
) -> Result<Vec<Vec<u8>>> {
    let (mut runs, mut known) = (Runs::after(before), HashSet::new());
    for task in tasks {
        let special = body::special(task, !known.insert((&task.queue, &task.id)));
        let head = (queues.index(&task.queue), special);
        let own = [keys::id(&task.id), body::body(task, reply(task))?];
        runs.add(head, |(queue, special)| [text(queue), text(special)], own);
    }
    Ok(runs.into_arguments())
}

fn holder(incarnation: Incarnation) -> Vec<u8> {
    incarnation.as_uuid().as_bytes().to_vec()
}

/// Those of `beat_plain.lua`.
pub(super) fn beat<'a>(beats: &'a [Beat], lease: Duration, queues: &mut Queues<'a>) -> Vec<Vec<u8>> {
    let mut runs = Runs::after(vec![text(millis(lease))]);
    for Beat { lease: Lease { queue, id, epoch, incarnation }, progress } in beats {
        let tells = progress.as_ref().map_or("", Payload::as_str);
        runs.add(
            (queues.index(queue), *epoch, *incarnation, tells),
            |(queue, epoch, incarnation, tells)| {
                [text(queue), text(epoch), holder(*incarnation), text(tells)]
            },
            [keys::id(id)],
        );
    }
    runs.into_arguments()
}

/// What settlements of a run have in common.
#[derive(PartialEq)]
pub(super) struct Run<'a> {
    pub(super) queue: usize,
    pub(super) epoch: u64,
    pub(super) incarnation: Incarnation,
    pub(super) how: &'static str,
    pub(super) said: &'a str,
    pub(super) delay: Duration,
    pub(super) children: usize,
}

/// Arguments of `settle_plain.lua`.
pub(super) struct Settlements<'a>(Runs<Run<'a>>);

impl<'a> Settlements<'a> {
    /// News goes to this channel.
    pub(super) fn new(channel: String) -> Self {
        Self(Runs::after(vec![channel.into_bytes(), Vec::new()]))
    }

    /// Has the next task of a queue sent ahead to this session, as `Ahead` names it.
    pub(super) fn with_credit(mut self, queue: usize, session: &[u8]) -> Self {
        self.0.arguments[1] = [session, &text(queue)].concat();
        self
    }

    /// Adds one, of the task with this id as it is stored.
    pub(super) fn add(&mut self, run: Run<'a>, id: Vec<u8>) {
        let common = |run: &Run<'_>| {
            [
                text(run.queue),
                text(run.epoch),
                holder(run.incarnation),
                text(run.how),
                text(run.said),
                text(millis(run.delay)),
                text(run.children),
            ]
        };
        self.0.add(run, common, [id]);
    }

    /// Adds one of the contract.
    pub(super) fn add_settlement(
        &mut self,
        settlement: &'a Settlement,
        queues: &mut Queues<'a>,
    ) -> Result<()> {
        let Settlement { lease: Lease { queue, id, epoch, incarnation }, end } = settlement;
        let (how, said, delay, children) = match end {
            End::Complete { children, result } => {
                let result = result.as_ref().map_or("null", Payload::as_str);
                ("complete", result, Duration::ZERO, children.as_slice())
            }
            End::Retry { error, delay } => ("retry", error.as_str(), *delay, [].as_slice()),
            End::Crash { error, delay } => ("crash", error.as_str(), *delay, [].as_slice()),
            End::Bury { error } => ("bury", error.as_str(), Duration::ZERO, [].as_slice()),
            End::Release => ("release", "", Duration::ZERO, [].as_slice()),
            End::Park => ("park", "", Duration::ZERO, [].as_slice()),
        };
        let (epoch, incarnation) = (*epoch, *incarnation);
        let queue = queues.index(queue);
        let run = Run { queue, epoch, incarnation, how, said, delay, children: children.len() };
        if !children.is_empty() {
            self.0.end_run();
        }
        self.add(run, keys::id(id));
        if !children.is_empty() {
            self.0.end_run();
            for child in children {
                self.0.arguments.push(text(queues.index(&child.queue)));
                self.0.arguments.extend(body::child(child)?);
            }
        }
        Ok(())
    }

    pub(super) fn into_arguments(self) -> Vec<Vec<u8>> {
        self.0.into_arguments()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Namespace, QueueName, TaskId, TaskName};

    fn words(arguments: &[Vec<u8>]) -> Vec<String> {
        arguments.iter().map(|word| word.escape_ascii().to_string()).collect()
    }

    #[test]
    fn what_is_alike_and_follows_one_another_goes_together() {
        let mut runs = Runs::after(vec![text("first")]);
        for (head, own) in [("a", "1"), ("a", "2"), ("b", "3"), ("a", "4")] {
            runs.add(head, |head| [text(head), text("common")], [text(own)]);
        }
        let wanted =
            ["first", "a", "common", "2", "1", "2", "b", "common", "1", "3", "a", "common", "1", "4"];
        assert_eq!(words(&runs.into_arguments()), wanted);
        assert_eq!(words(&Runs::<u8>::after(Vec::new()).into_arguments()), [""; 0]);
    }

    #[test]
    fn children_follow_their_parent() {
        let keys = keys::Keys::new(&Namespace::default());
        let queue = QueueName::new("q").unwrap();
        let name = TaskName::new("n").unwrap();
        let child = NewTask::new(queue.clone(), name, Payload::from_json("7").unwrap())
            .with_id(TaskId::new("c").unwrap());
        let incarnation = Incarnation::generate();
        let end = |children| End::complete(children);
        let settle = |id: &str, children| {
            let id = TaskId::new(id).unwrap();
            Settlement::new(Lease { queue: queue.clone(), id, epoch: 1, incarnation }, end(children))
        };
        let all = [settle("x", vec![]), settle("y", vec![child.clone()]), settle("z", vec![child])];
        let mut queues = Queues::new(&keys);
        let mut settlements = Settlements::new("news".to_owned());
        for settlement in &all {
            settlements.add_settlement(settlement, &mut queues).unwrap();
        }
        let told = words(&settlements.into_arguments());
        // After the channel and the credit: seven in common, the count, the id; and for a child its queue, id, body and what is special.
        let lengths = [9, 13, 13];
        assert_eq!(told.len(), 2 + lengths.iter().sum::<usize>());
        let (ids, children) = ([10, 19, 32], [8, 17, 30]);
        assert_eq!(ids.map(|place| &*told[place]), ["tx", "ty", "tz"]);
        assert_eq!(children.map(|place| &*told[place]), ["0", "1", "1"]);
        assert_eq!([21, 34].map(|place| &*told[place]), ["tc", "tc"]);
    }
}
