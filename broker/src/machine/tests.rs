use super::Machine;
use crate::{NewTask, Payload, QueueName, TaskId, TaskName, clock::Now};

/// Not only the first of them, and of every queue.
#[test]
fn all_that_is_wrong_is_named() {
    let (mut machine, now) = (Machine::new(0), Now { wall: 1, steady: 1 });
    let name = |name| QueueName::new(name).unwrap();
    let (a, b) = (name("a"), name("b"));
    for (queue, id) in [(&a, "1"), (&a, "2"), (&b, "3")] {
        let task = NewTask::new(queue.clone(), TaskName::new("work").unwrap(), Payload::encode(&0).unwrap());
        machine.enqueue(&[task.with_id(TaskId::new(id).unwrap())], None, now).unwrap();
    }
    assert_eq!((machine.wrong(), machine.check()), (Vec::new(), Ok(())));
    for id in ["1", "2"] {
        machine.queue(&a).leave(&TaskId::new(id).unwrap());
    }
    let task = machine.queue(&b).tasks.get_mut(&TaskId::new("3").unwrap()).unwrap();
    (task.progress.alone, task.progress.cancelled) = (true, true);
    let wanted = [
        (&a, "2 tasks, but 0 in the indexes"),
        (&a, "1 is not in the index of its phase Ready"),
        (&a, "2 is not in the index of its phase Ready"),
        (&b, "3 is marked alone, but Ready"),
        (&b, "3 is to be cancelled, but Ready"),
    ];
    assert_eq!(machine.wrong(), wanted.map(|(queue, wrong)| (Some(queue), wrong.to_owned())));
    assert_eq!(machine.check(), Err("a: 2 tasks, but 0 in the indexes".to_owned()));
}
