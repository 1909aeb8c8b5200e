//! Every statement that runs after the database was opened. Parameters are named in the order of their numbers.

/// Reads a task as `TaskRow::read` needs it; more columns may follow.
macro_rules! task {
    ($($rest:literal),+) => {
        concat!(
            "SELECT task, id, id_given, state, must_alone, sequence, epoch, attempts, max_attempts, crashes, max_crashes, \
             deaths, alone, parks, parked_since, error, cancelled, unique_key, unique_hold_ms, keep_result_ms, limit_key, \
             batch, history",
            $($rest),+
        )
    };
}

mod look;
mod packs;

pub(super) use look::*;
pub(super) use packs::*;

/// 1 name
pub(super) const QUEUE: &str = "SELECT queue, capacity, remember_ids_ms, revision, configured, closed, \
    highest_sequence, last_death, ready, ready_alone, scheduled, leased, dead, remembered, claim_order, paused, results, \
    seen, held, key_limit, key_interval_ms, packed, shared FROM queues WHERE name = ?1";

/// 1 queue
pub(super) const QUEUE_BY_KEY: &str = "SELECT name FROM queues WHERE queue = ?1";

/// 1 name, 2 capacity, 3 remember_ids_ms
pub(super) const ADD_QUEUE: &str = "INSERT INTO queues (name, capacity, remember_ids_ms, revision, configured, closed, \
    highest_sequence, last_death, ready, ready_alone, scheduled, leased, dead, remembered) \
    VALUES (?1, ?2, ?3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)";

/// 1 queue, then the columns in their order
pub(super) const SAVE_QUEUE: &str = "UPDATE queues SET capacity = ?2, remember_ids_ms = ?3, revision = ?4, \
    configured = ?5, closed = ?6, highest_sequence = ?7, last_death = ?8, ready = ?9, ready_alone = ?10, scheduled = ?11, \
    leased = ?12, dead = ?13, remembered = ?14, claim_order = ?15, paused = ?16, results = ?17, seen = ?18, \
    held = ?19, key_limit = ?20, key_interval_ms = ?21, packed = ?22, shared = ?23 WHERE queue = ?1";

/// 1 queue
pub(super) const PAUSE: &str = "SELECT paused_by, at FROM pauses WHERE queue = ?1";

/// 1 queue, 2 paused_by, 3 at
pub(super) const ADD_PAUSE: &str = "INSERT OR REPLACE INTO pauses (queue, paused_by, at) VALUES (?1, ?2, ?3)";

/// 1 queue
pub(super) const DROP_PAUSE: &str = "DELETE FROM pauses WHERE queue = ?1";

/// 1 queue, 2 id
pub(super) const HAS_TASK: &str = "SELECT 1 FROM tasks WHERE queue = ?1 AND id = ?2";

/// 1 queue, 2 id
pub(super) const TASK: &str = task!(" FROM tasks WHERE queue = ?1 AND id = ?2");

/// 1 queue, 2 id
pub(super) const REMEMBERED_UNTIL: &str = "SELECT until FROM remembered WHERE queue = ?1 AND id = ?2";

/// 1 queue, 2 id, 3 until
pub(super) const REMEMBER: &str = "INSERT INTO remembered (queue, id, until) VALUES (?1, ?2, ?3)";

/// 1 queue, 2 id
pub(super) const FORGET: &str = "DELETE FROM remembered WHERE queue = ?1 AND id = ?2";

/// 1 queue, 2 now, 3 most
pub(super) const FORGET_PAST: &str = "DELETE FROM remembered WHERE (queue, id) IN (SELECT queue, id FROM remembered \
    WHERE queue = ?1 AND until <= ?2 ORDER BY until LIMIT ?3)";

/// 1 queue, 2 most
pub(super) const FORGET_FIRST: &str = "DELETE FROM remembered WHERE (queue, id) IN (SELECT queue, id FROM remembered \
    WHERE queue = ?1 ORDER BY until, id LIMIT ?2)";

/// 1 queue, 2 id, 3 until, 4 result
pub(super) const KEEP_RESULT: &str = "INSERT INTO results (queue, id, until, result) VALUES (?1, ?2, ?3, ?4)";

/// 1 queue, 2 id
pub(super) const DROP_RESULT: &str = "DELETE FROM results WHERE queue = ?1 AND id = ?2";

/// 1 queue, 2 now, 3 most
pub(super) const DROP_PAST_RESULTS: &str = "DELETE FROM results WHERE outcome IN (SELECT outcome FROM results \
    WHERE queue = ?1 AND until <= ?2 ORDER BY until LIMIT ?3)";

/// 1 queue, 2 most
pub(super) const DROP_FIRST_RESULTS: &str = "DELETE FROM results WHERE outcome IN (SELECT outcome FROM results \
    WHERE queue = ?1 ORDER BY until, id LIMIT ?2)";

/// 1 queue, 2 unique_key, 3 id, 4 until
pub(super) const KEEP_KEY: &str = "INSERT INTO seen (queue, unique_key, id, until) VALUES (?1, ?2, ?3, ?4)";

/// 1 queue, 2 unique_key
pub(super) const DROP_KEY: &str = "DELETE FROM seen WHERE queue = ?1 AND unique_key = ?2";

/// 1 queue, 2 now, 3 most
pub(super) const DROP_PAST_KEYS: &str = "DELETE FROM seen WHERE (queue, unique_key) IN (SELECT queue, unique_key \
    FROM seen WHERE queue = ?1 AND until <= ?2 ORDER BY until LIMIT ?3)";

/// 1 queue, 2 most
pub(super) const DROP_FIRST_KEYS: &str = "DELETE FROM seen WHERE (queue, unique_key) IN (SELECT queue, unique_key \
    FROM seen WHERE queue = ?1 ORDER BY until, unique_key LIMIT ?2)";

/// 1 queue, 2 unique_key, 3 now. At most one of the two has it. That a batch holds it says nothing once the batch has ended.
pub(super) const HOLDER_OF_KEY: &str = "SELECT id FROM tasks WHERE queue = ?1 AND unique_key = ?2 AND state <> 3 \
    UNION ALL SELECT id FROM seen WHERE queue = ?1 AND unique_key = ?2 AND until > ?3 AND (until < 4611686018427387904 \
    OR EXISTS (SELECT 1 FROM batches WHERE batch = seen.until - 4611686018427387904 AND batches.until IS NULL))";

/// 1 queue, 2 id, 3 id_given, 4 name, 5 payload, 6 state, 7 sequence, 8 rank, 9 place, 10 due, 11 expires, 12 unique_key,
/// 13 unique_hold_ms, 14 keep_result_ms, 15 max_attempts, 16 max_crashes, 17 limit_key, 18 batch,
/// 19 run_limit_ms
pub(super) const ADD_TASK: &str = "INSERT INTO tasks (queue, id, id_given, name, payload, state, sequence, must_alone, \
    epoch, attempts, max_attempts, crashes, max_crashes, deaths, alone, parks, parked_since, rank, place, due, expires, \
    unique_key, unique_hold_ms, keep_result_ms, limit_key, batch, run_limit_ms) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0, 0, ?15, 0, ?16, 0, 0, 0, 0, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?17, ?18, ?19) \
    ON CONFLICT (queue, id) DO NOTHING";

/// 1 queue, 2 now, 3 most
pub(super) const LAPSED: &str = task!(
    " FROM tasks WHERE expires IS NOT NULL AND state IN (0, 1, 4) AND queue = ?1 AND expires <= ?2 \
     ORDER BY expires, typeof(id), id LIMIT ?3"
);

/// 1 queue, 2 now, 3 most
pub(super) const DUE: &str = "SELECT task, limit_key, sequence, deaths >= 2 FROM tasks \
    WHERE state = 1 AND queue = ?1 AND due <= ?2 ORDER BY due, sequence LIMIT ?3";

/// 1 task, 2 sequence, 3 place, 4 state, 5 must_alone, 6 returned
pub(super) const PROMOTE: &str = "UPDATE tasks SET state = ?4, due = NULL, sequence = ?2, place = ?3, must_alone = ?5, \
    returned = ?6 WHERE task = ?1";

/// 1 queue, 2 limit_key
pub(super) const LINE: &str =
    "SELECT ready, leased, not_before FROM lines WHERE queue = ?1 AND limit_key = ?2";

/// 1 queue, 2 limit_key, 3 ready, 4 leased, 5 not_before
pub(super) const SAVE_LINE: &str =
    "REPLACE INTO lines (queue, limit_key, ready, leased, not_before) VALUES (?1, ?2, ?3, ?4, ?5)";

/// 1 queue, 2 limit_key
pub(super) const DROP_LINE: &str = "DELETE FROM lines WHERE queue = ?1 AND limit_key = ?2";

/// 1 queue, 2 limit_key
pub(super) const FIRST_HELD: &str = "SELECT task, sequence, returned, must_alone FROM tasks \
    WHERE state = 4 AND queue = ?1 AND limit_key = ?2 ORDER BY rank, place LIMIT 1";

/// 1 queue, 2 most
pub(super) const WAITED_FOR: &str = "SELECT DISTINCT limit_key FROM tasks \
    WHERE state = 4 AND queue = ?1 ORDER BY limit_key LIMIT ?2";

/// 1 task, 2 sequence, 3 place
pub(super) const ADMIT: &str =
    "UPDATE tasks SET state = 0, sequence = ?2, place = ?3, returned = 0 WHERE task = ?1";

/// 1 queue, 2 limit_key, 3 the end of the interval, or 0 where there is none
pub(super) const LEASE_IN_LINE: &str = "UPDATE lines SET ready = max(ready - 1, 0), leased = leased + 1, \
    not_before = iif(?3 > 0, ?3, not_before) WHERE queue = ?1 AND limit_key = ?2";

/// 1 queue, 2 now, 3 most
pub(super) const OPENING: &str = "SELECT limit_key FROM lines \
    WHERE queue = ?1 AND not_before > 0 AND not_before <= ?2 ORDER BY not_before, limit_key LIMIT ?3";

/// 1 queue, 2 limit_key
pub(super) const OPEN: &str = "UPDATE lines SET not_before = 0 WHERE queue = ?1 AND limit_key = ?2";

/// 1 queue, 2 now, 3 most
pub(super) const EXPIRED: &str = task!(
    " FROM tasks WHERE state = 2 AND queue = ?1 AND leased_until <= ?2 ORDER BY leased_until, sequence LIMIT ?3"
);

/// 1 incarnation. Looks at all that is leased: that is no more than runs, and a process dies rarely.
pub(super) const HELD: &str =
    task!(", queue FROM tasks WHERE state = 2 AND leased_by = ?1 ORDER BY queue, leased_until, sequence");

/// 1 queue, 2 id, 3 epoch, 4 incarnation
pub(super) const LEASED: &str =
    task!(" FROM tasks WHERE queue = ?1 AND id = ?2 AND state = 2 AND epoch = ?3 AND leased_by = ?4");

/// 1 queue, 2 must_alone, 3 now
pub(super) const FIRST_READY: &str = "SELECT rank, place FROM tasks WHERE state = 0 AND queue = ?1 \
    AND must_alone = ?2 AND (expires IS NULL OR expires > ?3) ORDER BY rank, place LIMIT 1";

/// 1 queue, 2 must_alone, 3 now, 4 most
pub(super) const READY: &str = task!(
    ", name, payload, (SELECT generation FROM meta), run_limit_ms FROM tasks WHERE state = 0 AND queue = ?1 \
     AND must_alone = ?2 AND (expires IS NULL OR expires > ?3) ORDER BY rank, place LIMIT ?4"
);

/// 1 task, 2 incarnation, 3 leased_until, 4 epoch, 5 alone
pub(super) const LEASE: &str = "UPDATE tasks SET state = 2, leased_by = ?2, leased_until = ?3, epoch = ?4, alone = ?5, \
    expires = NULL WHERE task = ?1";

/// 1 queue, 2 id, 3 epoch, 4 incarnation, 5 leased_until, 6 progress or NULL to leave it
pub(super) const BEAT: &str = "UPDATE tasks SET leased_until = ?5, progress = coalesce(?6, progress) \
    WHERE queue = ?1 AND id = ?2 AND state = 2 AND epoch = ?3 AND leased_by = ?4 RETURNING cancelled";

/// 1 task
pub(super) const ASK_TO_CANCEL: &str = "UPDATE tasks SET cancelled = 1 WHERE task = ?1";

/// 1 task, 2 state, 3 must_alone, 4 place or NULL to leave it, 5 due, 6 death, 7 died, then the progress: 8 attempts,
/// 9 crashes, 10 deaths, 11 parks, 12 parked_since, 13 error, 14 cancelled, 15 history; and 16 returned
pub(super) const MOVE_TASK: &str = "UPDATE tasks SET state = ?2, must_alone = ?3, place = coalesce(?4, place), due = ?5, \
    death = ?6, died = ?7, attempts = ?8, crashes = ?9, deaths = ?10, parks = ?11, parked_since = ?12, error = ?13, \
    cancelled = ?14, history = ?15, returned = ?16, progress = NULL, alone = 0, leased_by = NULL, leased_until = NULL WHERE task = ?1";

/// 1 task, 2 sequence
pub(super) const BEGIN_ANEW: &str = "UPDATE tasks SET sequence = ?2, expires = NULL WHERE task = ?1";

/// 1 queue, 2 id, 3 epoch, 4 incarnation. Of a task of which nothing is known after its end.
pub(super) const COMPLETE_PLAIN: &str = "DELETE FROM tasks WHERE queue = ?1 AND id = ?2 AND state = 2 AND epoch = ?3 \
    AND leased_by = ?4 AND id_given = 0 AND unique_key IS NULL AND keep_result_ms IS NULL AND limit_key IS NULL \
    AND batch IS NULL";

/// 1 task
pub(super) const REMOVE_TASK: &str = "DELETE FROM tasks WHERE task = ?1";

/// 1 queue
pub(super) const FIRST_DEAD: &str =
    "SELECT task, died FROM tasks WHERE state = 3 AND queue = ?1 ORDER BY death LIMIT 1";

/// 1 queue, 2 death, 3 most
pub(super) const DEAD: &str = "SELECT id, name, payload, error, attempts, crashes, died, death, history FROM tasks \
    WHERE state = 3 AND queue = ?1 AND death > ?2 ORDER BY death LIMIT ?3";

/// 1 queue; whether there are any: 2 scheduled, 3 leased rows, 4 rows that wait, 5 dead, 6 leased in packs. What there is none of
/// is not looked for: each look reads a page of its own.
pub(super) const NEXT: &str = "SELECT \
    CASE WHEN ?2 THEN (SELECT min(due) FROM tasks WHERE state = 1 AND queue = ?1) END, \
    CASE WHEN ?3 THEN (SELECT min(leased_until) FROM tasks WHERE state = 2 AND queue = ?1) END, \
    CASE WHEN ?4 THEN \
        (SELECT min(expires) FROM tasks WHERE expires IS NOT NULL AND state IN (0, 1, 4) AND queue = ?1) END, \
    CASE WHEN ?5 THEN (SELECT died FROM tasks WHERE state = 3 AND queue = ?1 ORDER BY death LIMIT 1) END, \
    (SELECT min(not_before) FROM lines WHERE not_before > 0 AND queue = ?1), \
    CASE WHEN ?6 THEN (SELECT min(leased_until) FROM shares WHERE leased_by IS NOT NULL AND queue = ?1) END";

/// 1 queue, 2 id. One statement, so that a task that is settled meanwhile is seen before or after that, not in between.
pub(super) const OUTCOME: &str = "SELECT tasks.state, tasks.error, results.until, results.result, \
    tasks.progress FROM (SELECT ?1 AS queue, ?2 AS id) AS asked \
    LEFT JOIN tasks ON tasks.queue = asked.queue AND tasks.id = asked.id \
    LEFT JOIN results ON results.queue = asked.queue AND results.id = asked.id";

/// 1 name
pub(super) const BATCH: &str = "SELECT unsettled, done, dead, cancelled, until FROM batches WHERE name = ?1";

/// 1 name
pub(super) const BATCH_NUMBER: &str = "SELECT batch FROM batches WHERE name = ?1 AND until IS NULL";

/// 1 name
pub(super) const JOIN_BATCH: &str =
    "UPDATE batches SET unsettled = unsettled + 1 WHERE name = ?1 AND until IS NULL";

/// 1 name
pub(super) const DROP_BATCH: &str = "DELETE FROM batches WHERE name = ?1";

/// 1 name
pub(super) const BEGIN_BATCH: &str =
    "INSERT INTO batches (name, unsettled, done, dead, cancelled) VALUES (?1, 1, 0, 0, 0)";

/// 1 name
pub(super) const REVIVE_IN_BATCH: &str =
    "UPDATE batches SET dead = max(dead - 1, 0) WHERE name = ?1 AND until IS NULL";

/// 1 name, 2 done, 3 dead, 4 cancelled: how many more
pub(super) const LEAVE_BATCH: &str = "UPDATE batches SET unsettled = max(unsettled - 1, 0), done = done + ?2, \
    dead = dead + ?3, cancelled = cancelled + ?4 WHERE name = ?1 AND until IS NULL RETURNING batch, unsettled";

/// 1 batch, 2 until
pub(super) const END_BATCH: &str = "UPDATE batches SET until = ?2 WHERE batch = ?1";

/// 1 how many more, or fewer
pub(super) const COUNT_ENDED: &str =
    "UPDATE meta SET ended_batches = max(ended_batches + ?1, 0) RETURNING ended_batches";

/// 1 now, 2 most
pub(super) const DROP_PAST_BATCHES: &str = "DELETE FROM batches WHERE batch IN (SELECT batch FROM batches \
    WHERE until IS NOT NULL AND until <= ?1 ORDER BY until LIMIT ?2)";

/// 1 most
pub(super) const DROP_FIRST_BATCHES: &str = "DELETE FROM batches WHERE batch IN (SELECT batch FROM batches \
    WHERE until IS NOT NULL ORDER BY until, name LIMIT ?1)";

/// 1 batch, 2 until when it held keys
pub(super) const UNHOLD: &str = "INSERT INTO unheld (batch) SELECT ?1 \
    WHERE EXISTS (SELECT 1 FROM seen WHERE until > 4611686018427387904 AND until = ?2)";

/// None
pub(super) const FIRST_UNHELD: &str = "SELECT min(batch) FROM unheld";

/// 1 until when the batch held keys, 2 most
pub(super) const SWEEP: &str = "DELETE FROM seen WHERE (queue, unique_key) IN (SELECT queue, unique_key FROM seen \
    WHERE until > 4611686018427387904 AND until = ?1 LIMIT ?2) RETURNING queue";

/// 1 batch
pub(super) const SWEPT: &str = "DELETE FROM unheld WHERE batch = ?1";

/// 1 incarnation, 2 sequence, 3 now
pub(super) const ANSWERS: &str =
    "SELECT answers FROM calls WHERE incarnation = ?1 AND sequence = ?2 AND until > ?3";

/// 1 incarnation, 2 sequence, 3 until, 4 answers
pub(super) const KEEP_ANSWERS: &str =
    "REPLACE INTO calls (incarnation, sequence, until, answers) VALUES (?1, ?2, ?3, ?4)";

/// 1 now, 2 most
pub(super) const DROP_PAST_ANSWERS: &str = "DELETE FROM calls WHERE (incarnation, sequence) IN \
    (SELECT incarnation, sequence FROM calls WHERE until <= ?1 ORDER BY until LIMIT ?2)";

/// 1 incarnation, 2 how many are kept
pub(super) const DROP_FIRST_ANSWERS: &str = "DELETE FROM calls WHERE incarnation = ?1 AND sequence <= \
    (SELECT sequence FROM calls WHERE incarnation = ?1 ORDER BY sequence DESC LIMIT 1 OFFSET ?2)";

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const ALL: &[&str] = &[
        ADD_PACK,
        PACK,
        DROP_PACK,
        ADD_SHARE,
        LEASE_SHARE,
        CUT_SHARE,
        SAVE_MEMBERS,
        RENEW_SHARE,
        DROP_SHARE,
        SHARE,
        SHARES_AROUND,
        FIRST_READY_SHARE,
        READY_SHARES,
        LEASED_SHARES,
        FIRST_EXPIRED_SHARE,
        HELD_SHARES,
        HAS_ROWS,
        HAS_TRACES,
        UNPACK,
        READY_BEFORE,
        QUEUE_NAMES,
        LOOK,
        LOOK_READY,
        LOOK_SCHEDULED,
        LOOK_HELD,
        LOOK_LEASED,
        LOOK_DEAD,
        READY_AHEAD,
        HELD_AHEAD,
        DROP_LINES,
        QUEUE,
        PAUSE,
        ADD_PAUSE,
        DROP_PAUSE,
        QUEUE_BY_KEY,
        ADD_QUEUE,
        SAVE_QUEUE,
        HAS_TASK,
        TASK,
        REMEMBERED_UNTIL,
        REMEMBER,
        FORGET,
        FORGET_PAST,
        FORGET_FIRST,
        KEEP_RESULT,
        DROP_RESULT,
        DROP_PAST_RESULTS,
        DROP_FIRST_RESULTS,
        KEEP_KEY,
        DROP_KEY,
        DROP_PAST_KEYS,
        DROP_FIRST_KEYS,
        HOLDER_OF_KEY,
        ADD_TASK,
        COMPLETE_PLAIN,
        LAPSED,
        DUE,
        PROMOTE,
        LINE,
        SAVE_LINE,
        DROP_LINE,
        FIRST_HELD,
        WAITED_FOR,
        ADMIT,
        LEASE_IN_LINE,
        OPENING,
        OPEN,
        EXPIRED,
        HELD,
        LEASED,
        FIRST_READY,
        READY,
        LEASE,
        BEAT,
        ASK_TO_CANCEL,
        MOVE_TASK,
        BEGIN_ANEW,
        REMOVE_TASK,
        FIRST_DEAD,
        DEAD,
        NEXT,
        OUTCOME,
        BATCH,
        BATCH_NUMBER,
        JOIN_BATCH,
        DROP_BATCH,
        BEGIN_BATCH,
        REVIVE_IN_BATCH,
        LEAVE_BATCH,
        END_BATCH,
        COUNT_ENDED,
        DROP_PAST_BATCHES,
        DROP_FIRST_BATCHES,
        UNHOLD,
        FIRST_UNHELD,
        SWEEP,
        SWEPT,
        ANSWERS,
        KEEP_ANSWERS,
        DROP_PAST_ANSWERS,
        DROP_FIRST_ANSWERS,
    ];

    /// A queue may have a million tasks: every statement finds its rows by an index, in the order in which it wants them.
    #[test]
    fn no_statement_scans_or_sorts() {
        let files = [
            include_str!("statements.rs"),
            include_str!("statements/look.rs"),
            include_str!("statements/packs.rs"),
        ];
        let count = |constant| files.iter().map(|file| file.matches(constant).count()).sum::<usize>();
        let constants = count("\npub(super) const ") + count("\npub(in super::super) const ");
        assert_eq!(ALL.len(), constants, "all statements are looked at");
        let database = rusqlite::Connection::open_in_memory().unwrap();
        database.execute_batch(include_str!("schema.sql")).unwrap();
        for sql in ALL {
            let mut explain = database.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let nulls = vec![rusqlite::types::Null; explain.parameter_count()];
            let plan = explain.query_map(rusqlite::params_from_iter(nulls), |row| row.get(3)).unwrap();
            let plan: Vec<String> = plan.map(|line| line.unwrap()).collect();
            // One row each; and what one process holds is no more than it can run.
            let small = ["SCAN meta", "SCAN asked", "SCAN CONSTANT ROW"];
            let slow = |line: &&String| {
                (line.starts_with("SCAN") && !small.contains(&line.as_str())) || line.contains("B-TREE")
            };
            if *sql == HELD {
                assert_eq!(plan, ["SCAN tasks USING INDEX tasks_leased"], "what is leased, in its order");
                continue;
            }
            if *sql == HELD_SHARES {
                assert_eq!(plan, ["SCAN shares USING INDEX shares_leased"], "what is leased, in its order");
                continue;
            }
            assert_eq!(plan.iter().find(slow), None, "{sql}: {plan:#?}");
        }
    }
}
