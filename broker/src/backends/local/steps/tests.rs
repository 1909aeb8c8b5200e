//! What a call costs, in statements. A commit costs more than all of them, but it is shared by a group of calls; they are not.

use rusqlite::Connection;

use super::*;
use crate::{
    Claim, End, Incarnation, NewTask, Payload, QueueName, QueueOptions, Settlement, TaskName, Token,
    backends::local::database::SCHEMA,
};

/// An open database, as sessions have it, but in memory.
fn database() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(SCHEMA).unwrap();
    connection.execute("INSERT INTO meta VALUES (1, 4, 4, 'boot', 1, 0, 0)", []).unwrap();
    connection
}

/// How many statements a transaction ran, and what it answered.
fn count<T>(prepared: &Prepared<'_>, call: impl FnOnce(&mut Steps<'_, '_>) -> T) -> (i32, T) {
    let before = prepared.runs();
    let mut steps = Steps::new(prepared, Now { wall: 1_000_000, steady: 1_000_000 });
    let answer = call(&mut steps);
    steps.finish().unwrap();
    (prepared.runs() - before, answer)
}

/// What `tasks` cost to enqueue, to claim and to complete, all of them in one call each.
fn costs(options: &QueueOptions, tasks: &[NewTask], token: Option<Token>) -> [i32; 3] {
    let (connection, me) = (database(), Incarnation::generate());
    let connection = Prepared::new(&connection);
    let queue = &tasks[0].queue;
    count(&connection, |steps| steps.declare(queue, Some(options)).unwrap());
    let (enqueue, _) = count(&connection, |steps| steps.enqueue(tasks, token).unwrap());
    let wanted = Claim::new(queue.clone(), tasks.len());
    let (claim, reply) = count(&connection, |steps| steps.claim(&wanted, me).unwrap());
    assert_eq!(reply.tasks.len(), tasks.len());
    let ends = reply.tasks.into_iter().map(|task| Settlement::new(task.lease, End::complete(Vec::new())));
    let ends: Vec<_> = ends.collect();
    let (settle, _) = count(&connection, |steps| steps.settle(&ends).unwrap());
    [enqueue, claim, settle]
}

fn task() -> NewTask {
    NewTask::new(QueueName::new("q").unwrap(), TaskName::new("work").unwrap(), Payload::null())
}

fn ten(task: impl Fn(usize) -> NewTask) -> Vec<NewTask> {
    (0..10).map(task).collect()
}

/// The queue is read and written once a call; a claim looks for what time brought before and after. Of a task: add it, if its
/// id is new; lease it; remove it, if it is held. Of those that are sent together: is there a row with one of these ids, add the
/// pack and its share; what is the first share, what is in its pack, lease it; which shares may have these ids, what is in the one
/// that has, remove it and the pack.
#[test]
fn plain_tasks_cost_what_one_costs() {
    let plain = QueueOptions::default();
    assert_eq!(costs(&plain, &[task()], None), [2 + 1, 5 + 1, 2 + 1]);
    for tasks in [2, 10, 200] {
        let tasks: Vec<_> = (0..tasks).map(|_| task()).collect();
        assert_eq!(costs(&plain, &tasks, None), [2 + 3, 5 + 3 - 1, 2 + 4]);
    }
}

/// Those that are not alike are rows.
#[test]
fn a_row_costs_one_statement_a_call() {
    let other = |number: usize| task().with_max_attempts(1 + u32::try_from(number).unwrap());
    assert_eq!(costs(&QueueOptions::default(), &ten(other), None), [2 + 10, 5 + 10, 2 + 10]);
}

/// What is asked for is paid for, and nothing else.
#[test]
fn what_else_a_task_asks_for_costs_more() {
    let plain = QueueOptions::default();
    let token = Token::next(Incarnation::generate());
    let [enqueue, claim, settle] = costs(&plain, &ten(|_| task()), Some(token));
    // Is there an answer, keep this one, drop those whose time is over, and those that are too many.
    assert_eq!([enqueue, claim, settle], [2 + 3 + 4, 5 + 3 - 1, 2 + 4]);

    let batch = BatchName::new("b").unwrap();
    let [enqueue, claim, settle] = costs(&plain, &ten(|_| task().in_batch(batch.clone())), None);
    // Is its id new, add it, count it; is it held, remove it, count it. A batch begins and ends; and the first one is tried as if it
    // were plain.
    assert_eq!([enqueue, claim, settle], [2 + 3 * 10 + 3, 5 + 10, 2 + 3 * 10 + 5 + 1]);

    let limited = plain.with_key_limit(10);
    let key = |number: usize| LimitKey::new(&format!("{number}")).unwrap();
    let [enqueue, claim, settle] = costs(&limited, &ten(|number| task().with_key(key(number))), None);
    // A line is read and written, and the first one in it lined up and let go.
    assert_eq!([enqueue, claim, settle], [2 + 6 * 10, 5 + 2 * 10, 2 + 4 * 10 + 1]);
}
