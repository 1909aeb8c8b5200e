//! The scripts, each with what it needs of the shared parts.

use std::sync::LazyLock;

use redis::Script;

/// What a script has to begin with.
macro_rules! begin {
    () => {
        include_str!("lua/lib.lua")
    };
}

/// What a script needs that does with tasks whatever their options ask for.
macro_rules! all_options {
    () => {
        concat!(
            include_str!("lua/header.lua"),
            include_str!("lua/records.lua"),
            include_str!("lua/batches.lua"),
            include_str!("lua/forget.lua"),
            include_str!("lua/kept.lua"),
            include_str!("lua/lines.lua"),
            include_str!("lua/moves.lua"),
        )
    };
}

macro_rules! scripts {
    ($($name:ident: $($file:literal)+),+ $(,)?) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(begin!(), all_options!(), $(include_str!($file)),+))
        });)+
    };
}

/// Scripts that run many times a second: first a short way for what is usual, which returns if it can do the whole, then the long way for all else. That is
/// a function of its own, as the server makes all functions of a script anew in each call.
macro_rules! scripts_with_a_short_way {
    ($($name:ident: $($short:literal)+, then $($long:literal)+;)+) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(
                begin!(),
                $(include_str!($short),)+
                "local function long_way()\n",
                all_options!(),
                $(include_str!($long),)+
                "end\nreturn long_way()\n",
            ))
        });)+
    };
}

scripts_with_a_short_way! {
    ENQUEUE: "lua/calls.lua" "lua/plain.lua" "lua/credit.lua" "lua/ahead.lua" "lua/send_ahead.lua" "lua/enqueue_plain.lua", then "lua/tasks.lua" "lua/enqueue.lua";
    CLAIM: "lua/plain.lua" "lua/credit.lua" "lua/ahead.lua" "lua/claim_plain.lua", then "lua/claim.lua";
    BEAT: "lua/plain.lua" "lua/beat_plain.lua", then "lua/beat.lua";
    SETTLE: "lua/plain.lua" "lua/credit.lua" "lua/settle_plain.lua" "lua/header.lua" "lua/forget.lua" "lua/settle_results.lua", then "lua/tasks.lua" "lua/settle.lua";
}

/// Scripts that look at tasks, whatever their options ask for.
macro_rules! scripts_that_look {
    ($($name:ident: $file:literal),+ $(,)?) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(begin!(), include_str!($file)))
        });)+
    };
}

scripts_that_look! {
    OUTCOMES: "lua/outcomes.lua",
}

/// Scripts that have nothing to do with tasks.
macro_rules! scripts_of_workers {
    ($($name:ident: $file:literal),+ $(,)?) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!($file)));)+
    };
}

scripts_of_workers! {
    REPORT: "lua/report.lua",
    LEAVE: "lua/leave.lua",
    LIVE: "lua/live.lua",
    DRAIN: "lua/drain.lua",
    WITHDRAW: "lua/withdraw.lua",
}

scripts! {
    OPEN: "lua/open.lua",
    DECLARE: "lua/declare.lua" "lua/status.lua",
    CLOSE: "lua/close.lua",
    PAUSE: "lua/pause.lua",
    RESUME: "lua/resume.lua",
    CANCEL: "lua/cancel.lua",
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
