//! The scripts, each with what all of them share in front.

use std::sync::LazyLock;

use redis::Script;

macro_rules! scripts {
    ($($name:ident: $($file:literal)+),+ $(,)?) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(
                include_str!("lua/lib.lua"),
                include_str!("lua/batches.lua"),
                include_str!("lua/kept.lua"),
                include_str!("lua/lines.lua"),
                include_str!("lua/moves.lua"),
                $(include_str!($file)),+
            ))
        });)+
    };
}

scripts! {
    OPEN: "lua/open.lua",
    DECLARE: "lua/declare.lua" "lua/status.lua",
    ENQUEUE: "lua/tasks.lua" "lua/enqueue.lua",
    CLAIM: "lua/plain.lua" "lua/claim.lua",
    BEAT: "lua/plain.lua" "lua/beat.lua",
    SETTLE: "lua/tasks.lua" "lua/plain.lua" "lua/settle.lua",
    CLOSE: "lua/close.lua",
    PAUSE: "lua/pause.lua",
    RESUME: "lua/resume.lua",
    CANCEL: "lua/cancel.lua",
    OUTCOMES: "lua/outcomes.lua",
    BATCH: "lua/batch.lua",
    DEAD: "lua/dead.lua",
    REVIVE: "lua/revive.lua",
    PURGE: "lua/purge.lua",
    STATUS: "lua/status.lua",
    QUEUES: "lua/queues.lua",
    LIST: "lua/look.lua" "lua/list.lua",
    TASK: "lua/look.lua" "lua/task.lua",
    SET: "lua/set.lua" "lua/status.lua",
    PURGE_WAITING: "lua/look.lua" "lua/purge_waiting.lua",
    FSCK_NAMESPACE: "lua/fsck_namespace.lua",
    FSCK_QUEUE: "lua/fsck_queue.lua",
    FSCK_IDS: "lua/fsck_ids.lua",
    FSCK_TASKS: "lua/fsck_asked.lua" "lua/fsck_read.lua" "lua/fsck_places.lua" "lua/fsck_keys.lua" "lua/fsck_tasks.lua",
    FSCK_KEPT: "lua/fsck_kept.lua",
    FSCK_ADDED: "lua/fsck_added.lua",
    FSCK_BATCHES: "lua/fsck_batches.lua",
    FSCK_COUNTS: "lua/fsck_counts.lua",
    FSCK_CALLS: "lua/fsck_calls.lua",
}
