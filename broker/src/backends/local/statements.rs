//! Every statement that runs after the database was opened. Parameters are named in the order of their numbers.

/// 1 name
pub(super) const QUEUE: &str = "SELECT queue, capacity, remember_ids_ms, revision, configured, closed, sequence, \
    deaths, ready, ready_alone, scheduled, leased, dead, remembered FROM queues WHERE name = ?1";

/// 1 queue
pub(super) const QUEUE_BY_KEY: &str = "SELECT name FROM queues WHERE queue = ?1";

/// 1 name, 2 capacity, 3 remember_ids_ms
pub(super) const ADD_QUEUE: &str = "INSERT INTO queues (name, capacity, remember_ids_ms, revision, configured, closed, \
    sequence, deaths, ready, ready_alone, scheduled, leased, dead, remembered) \
    VALUES (?1, ?2, ?3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)";

/// 1 queue, then the columns in their order
pub(super) const SAVE_QUEUE: &str = "UPDATE queues SET capacity = ?2, remember_ids_ms = ?3, revision = ?4, \
    configured = ?5, closed = ?6, sequence = ?7, deaths = ?8, ready = ?9, ready_alone = ?10, scheduled = ?11, \
    leased = ?12, dead = ?13, remembered = ?14 WHERE queue = ?1";

/// 1 queue, 2 id
pub(super) const HAS_TASK: &str = "SELECT 1 FROM tasks WHERE queue = ?1 AND id = ?2";

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

/// 1 queue, 2 id, 3 id_given, 4 name, 5 payload, 6 sequence, 7 max_attempts, 8 max_crashes
pub(super) const ADD_TASK: &str = "INSERT INTO tasks (queue, id, id_given, name, payload, state, sequence, must_alone, \
    epoch, attempts, max_attempts, crashes, max_crashes, deaths, alone, parks, parked_since) \
    VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, 0, 0, 0, ?7, 0, ?8, 0, 0, 0, 0)";

/// 1 queue, 2 now, 3 most
pub(super) const DUE: &str = "SELECT task FROM tasks \
    WHERE state = 1 AND queue = ?1 AND due <= ?2 ORDER BY due, sequence LIMIT ?3";

/// 1 task, 2 sequence
pub(super) const PROMOTE: &str = "UPDATE tasks SET state = 0, due = NULL, sequence = ?2 WHERE task = ?1";

/// 1 queue, 2 now, 3 most
pub(super) const EXPIRED: &str = "SELECT task, id, id_given, epoch, attempts, max_attempts, crashes, max_crashes, \
    deaths, alone, parks, parked_since, error FROM tasks \
    WHERE state = 2 AND queue = ?1 AND leased_until <= ?2 ORDER BY leased_until, sequence LIMIT ?3";

/// 1 incarnation
pub(super) const HELD: &str = "SELECT task, id, id_given, epoch, attempts, max_attempts, crashes, max_crashes, \
    deaths, alone, parks, parked_since, error, queue FROM tasks \
    WHERE state = 2 AND leased_by = ?1 ORDER BY queue, leased_until, sequence";

/// 1 queue, 2 id, 3 epoch, 4 incarnation
pub(super) const LEASED: &str = "SELECT task, id, id_given, epoch, attempts, max_attempts, crashes, max_crashes, \
    deaths, alone, parks, parked_since, error FROM tasks \
    WHERE queue = ?1 AND id = ?2 AND state = 2 AND epoch = ?3 AND leased_by = ?4";

/// 1 queue, 2 must_alone
pub(super) const FIRST_READY: &str =
    "SELECT sequence FROM tasks WHERE state = 0 AND queue = ?1 AND must_alone = ?2 ORDER BY sequence LIMIT 1";

/// 1 queue, 2 must_alone, 3 most
pub(super) const READY: &str = "SELECT task, id, id_given, epoch, attempts, max_attempts, crashes, max_crashes, \
    deaths, alone, parks, parked_since, error, name, payload FROM tasks \
    WHERE state = 0 AND queue = ?1 AND must_alone = ?2 ORDER BY sequence LIMIT ?3";

/// 1 task, 2 incarnation, 3 leased_until, 4 epoch, 5 alone
pub(super) const LEASE: &str =
    "UPDATE tasks SET state = 2, leased_by = ?2, leased_until = ?3, epoch = ?4, alone = ?5 WHERE task = ?1";

/// 1 queue, 2 id, 3 epoch, 4 incarnation, 5 leased_until
pub(super) const BEAT: &str = "UPDATE tasks SET leased_until = ?5 \
    WHERE queue = ?1 AND id = ?2 AND state = 2 AND epoch = ?3 AND leased_by = ?4";

/// 1 task, 2 state, 3 must_alone, 4 due, 5 death, then the progress: 6 attempts, 7 crashes, 8 deaths, 9 parks,
/// 10 parked_since, 11 error
pub(super) const END_LEASE: &str = "UPDATE tasks SET state = ?2, must_alone = ?3, due = ?4, death = ?5, attempts = ?6, \
    crashes = ?7, deaths = ?8, parks = ?9, parked_since = ?10, error = ?11, alone = 0, leased_by = NULL, \
    leased_until = NULL WHERE task = ?1";

/// 1 task
pub(super) const REMOVE_TASK: &str = "DELETE FROM tasks WHERE task = ?1";

/// 1 queue
pub(super) const REMOVE_FIRST_DEAD: &str = "DELETE FROM tasks WHERE task = \
    (SELECT task FROM tasks WHERE state = 3 AND queue = ?1 ORDER BY death LIMIT 1)";

/// 1 queue
pub(super) const NEXT_DUE: &str = "SELECT min(due) FROM tasks WHERE state = 1 AND queue = ?1";

/// 1 queue
pub(super) const NEXT_EXPIRY: &str = "SELECT min(leased_until) FROM tasks WHERE state = 2 AND queue = ?1";

/// No parameters.
pub(super) const GENERATION: &str = "SELECT generation FROM meta";
