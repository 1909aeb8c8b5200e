//! What operators ask: which queues there are, single tasks, lists, and what is ahead of a task. Parameters are named in the order of their numbers.

/// Reads a task as `Look::read` needs it; more columns may follow.
macro_rules! look {
    ($rest:literal) => {
        task!(
            ", name, octet_length(payload), rank, place, due, leased_by, leased_until, died, death, expires, run_limit_ms",
            $rest
        )
    };
}

/// 1 name or an empty text, 2 most
pub(in super::super) const QUEUE_NAMES: &str =
    "SELECT name FROM queues WHERE name > ?1 ORDER BY name LIMIT ?2";

/// 1 queue, 2 id
pub(in super::super) const LOOK: &str = look!(", payload, progress FROM tasks WHERE queue = ?1 AND id = ?2");

/// 1 queue, 2 must_alone, 3 rank, 4 place, 5 most
pub(in super::super) const LOOK_READY: &str = look!(
    " FROM tasks WHERE state = 0 AND queue = ?1 AND must_alone = ?2 AND (rank, place) > (?3, ?4) ORDER BY rank, place LIMIT ?5"
);

/// 1 queue, 2 due, 3 sequence, 4 most
pub(in super::super) const LOOK_SCHEDULED: &str = look!(
    " FROM tasks WHERE state = 1 AND queue = ?1 AND (due, sequence) > (?2, ?3) ORDER BY due, sequence LIMIT ?4"
);

/// 1 queue, 2 limit_key, 3 rank, 4 place, 5 most
pub(in super::super) const LOOK_HELD: &str = look!(
    " FROM tasks WHERE state = 4 AND queue = ?1 AND (limit_key, rank, place) > (?2, ?3, ?4) \
     ORDER BY limit_key, rank, place LIMIT ?5"
);

/// 1 queue, 2 leased_until, 3 sequence, 4 most
pub(in super::super) const LOOK_LEASED: &str = look!(
    " FROM tasks WHERE state = 2 AND queue = ?1 AND (leased_until, sequence) > (?2, ?3) \
     ORDER BY leased_until, sequence LIMIT ?4"
);

/// 1 queue, 2 death, 3 most
pub(in super::super) const LOOK_DEAD: &str =
    look!(" FROM tasks WHERE state = 3 AND queue = ?1 AND death > ?2 ORDER BY death LIMIT ?3");

/// 1 queue, 2 must_alone, 3 rank, 4 place, 5 most
pub(in super::super) const READY_AHEAD: &str = "SELECT 1 FROM tasks WHERE state = 0 AND queue = ?1 AND must_alone = ?2 \
    AND (rank, place) < (?3, ?4) LIMIT ?5";

/// 1 queue, 2 limit_key, 3 rank, 4 place, 5 most
pub(in super::super) const HELD_AHEAD: &str = "SELECT 1 FROM tasks WHERE state = 4 AND queue = ?1 AND limit_key = ?2 \
    AND (rank, place) < (?3, ?4) LIMIT ?5";

/// 1 queue. As many as there are keys of which a task was claimed within the interval.
pub(in super::super) const DROP_LINES: &str = "DELETE FROM lines WHERE queue = ?1";
