-- The tables of one namespace, format 4. `docs/local-store.md` explains them.
-- `upgrade_2.sql` to `upgrade_4.sql` make them of those of older formats: what is added here needs a default.

-- What holds for the whole file.
CREATE TABLE meta (
    one           INTEGER PRIMARY KEY CHECK (one = 1),
    oldest_reader INTEGER NOT NULL,  -- the oldest format that may read this file
    oldest_writer INTEGER NOT NULL,  -- the oldest format that may write it
    boot          TEXT    NOT NULL,  -- the boot in which leased_until counts
    generation    INTEGER NOT NULL,  -- raises all epochs; see machine::Progress::claim
    ended_batches INTEGER NOT NULL DEFAULT 0,  -- how many rows of batches are of ended ones
    touched       INTEGER NOT NULL DEFAULT 0  -- not used any more
) STRICT;

CREATE TABLE queues (
    queue           INTEGER PRIMARY KEY,
    name            TEXT    NOT NULL UNIQUE,
    capacity        INTEGER NOT NULL,
    remember_ids_ms INTEGER NOT NULL,
    revision        INTEGER NOT NULL,  -- counts the changes of the options
    configured      INTEGER NOT NULL,  -- 0: exists only by use
    closed          INTEGER NOT NULL,
    highest_sequence INTEGER NOT NULL, -- the last one given
    last_death      INTEGER NOT NULL,  -- the last order of death given
    ready           INTEGER NOT NULL,  -- how many tasks are in each state
    ready_alone     INTEGER NOT NULL,  -- those of them that must run alone
    scheduled       INTEGER NOT NULL,
    leased          INTEGER NOT NULL,
    dead            INTEGER NOT NULL,
    remembered      INTEGER NOT NULL,  -- how many rows the queue has in that table
    claim_order     INTEGER NOT NULL DEFAULT 0,  -- 0 fifo, 1 lifo, 2 priority
    paused          INTEGER NOT NULL DEFAULT 0,  -- 1: claims take nothing
    results         INTEGER NOT NULL DEFAULT 0,  -- how many rows the queue has in that table
    seen            INTEGER NOT NULL DEFAULT 0,  -- how many rows the queue has in that table
    held            INTEGER NOT NULL DEFAULT 0,  -- how many tasks are in that state
    key_limit       INTEGER NOT NULL DEFAULT 0,  -- how many tasks of one key may be leased; 0: as many as come
    key_interval_ms INTEGER NOT NULL DEFAULT 0,  -- how long after a claim the next one of its key can be claimed
    packed          INTEGER NOT NULL DEFAULT 0,  -- those of ready that are in packs
    shared          INTEGER NOT NULL DEFAULT 0   -- those of leased that are in packs
) STRICT;

CREATE TABLE tasks (
    task           INTEGER PRIMARY KEY,
    queue          INTEGER NOT NULL,
    id             ANY     NOT NULL,  -- 16 bytes for a UUID, else text
    id_given       INTEGER NOT NULL,  -- by the user: remembered after settlement
    name           TEXT    NOT NULL,
    payload        TEXT    NOT NULL,  -- the JSON text as it was given
    state          INTEGER NOT NULL,  -- 0 ready, 1 scheduled, 2 leased, 3 dead, 4 held
    sequence       INTEGER NOT NULL,  -- the last one it was given
    must_alone     INTEGER NOT NULL,  -- may be claimed only to run alone
    due            INTEGER,           -- scheduled: wall-clock ms
    leased_by      BLOB,              -- leased: the incarnation
    leased_until   INTEGER,           -- leased: ms since boot
    death          INTEGER,           -- dead: the order
    epoch          INTEGER NOT NULL,  -- from here to error: machine::Progress
    attempts       INTEGER NOT NULL,
    max_attempts   INTEGER NOT NULL,
    crashes        INTEGER NOT NULL,
    max_crashes    INTEGER NOT NULL,
    deaths         INTEGER NOT NULL,
    alone          INTEGER NOT NULL,
    parks          INTEGER NOT NULL,
    parked_since   INTEGER NOT NULL,
    error          TEXT,
    cancelled      INTEGER NOT NULL DEFAULT 0,  -- leased: somebody cancelled it; dead: its holder was faster
    rank           INTEGER NOT NULL DEFAULT 0,  -- its priority, 0 where it has none
    place          INTEGER NOT NULL DEFAULT 0,  -- ready, held: where it stands in its rank; see machine::place and held_place. Else of no meaning
    expires        INTEGER,  -- ready, scheduled, held: dead when nobody claimed it by this wall-clock ms; NULL once claimed
    unique_key     TEXT,     -- no other task of the queue that is not dead has it, and no row of seen
    unique_hold_ms INTEGER,  -- with a key: how long it is seen after the task ended; -1: until its batch has ended
    keep_result_ms INTEGER,  -- how long its outcome is kept; NULL: nobody wants it
    died           INTEGER,  -- dead: wall-clock ms
    limit_key      TEXT,     -- of those with one key, only so many run
    returned       INTEGER NOT NULL DEFAULT 0,  -- held: it was given back under its sequence
    batch          TEXT,     -- the name of its batch
    progress       TEXT,     -- leased: what its holder told last, as JSON text
    history        TEXT,     -- what went wrong so far: [[wall-clock ms, text], ...] as JSON text; NULL: nothing
    run_limit_ms   INTEGER   -- how long one run may take; NULL: as long as the handler says
) STRICT;

-- Indexes hold one state each, so that a task costs those of its state only. Columns behind those that are looked for keep
-- ties in order, or spare a look at the row.
CREATE UNIQUE INDEX tasks_by_id  ON tasks (queue, id);
CREATE INDEX tasks_ready         ON tasks (queue, must_alone, rank, place, expires) WHERE state = 0;
CREATE INDEX tasks_scheduled     ON tasks (queue, due, sequence) WHERE state = 1;
CREATE INDEX tasks_leased        ON tasks (queue, leased_until, sequence) WHERE state = 2;
CREATE INDEX tasks_dead          ON tasks (queue, death, died) WHERE state = 3;
CREATE INDEX tasks_expiring      ON tasks (queue, expires, typeof(id), id) WHERE expires IS NOT NULL AND state IN (0, 1, 4);
CREATE UNIQUE INDEX tasks_unique ON tasks (queue, unique_key) WHERE unique_key IS NOT NULL AND state <> 3;
CREATE INDEX tasks_in_line       ON tasks (queue, limit_key, rank, place) WHERE state = 4;

-- Tasks of one call that ask for nothing and are alike: one row instead of one each, written once. Those of a pack are in its
-- shares, until something happens to one of them that a row of `tasks` is needed for.
CREATE TABLE packs (
    pack         INTEGER PRIMARY KEY,
    queue        INTEGER NOT NULL,
    first        INTEGER NOT NULL,  -- the sequence of its first task; the others follow
    size         INTEGER NOT NULL,  -- how many tasks it was
    name         TEXT    NOT NULL,
    max_attempts INTEGER NOT NULL,
    max_crashes  INTEGER NOT NULL,
    ends         BLOB    NOT NULL,  -- where the payload of each ends: 4 bytes, the lowest first
    payloads     TEXT    NOT NULL   -- as they were given, one after the other, with a line feed after each
) STRICT;

-- What of a pack is together ready, or leased by one claim.
CREATE TABLE shares (
    share        INTEGER PRIMARY KEY,
    queue        INTEGER NOT NULL,
    first        INTEGER NOT NULL,  -- the sequence of its first task
    pack         INTEGER NOT NULL,
    start        INTEGER NOT NULL,  -- which task of the pack is its first
    ids          BLOB    NOT NULL,  -- 16 bytes a task, in their order
    members      TEXT    NOT NULL,  -- 1 a task that is still here, 0 one that is not
    least        BLOB    NOT NULL,  -- the first id
    most         BLOB    NOT NULL,  -- the last id
    leased_by    BLOB,              -- the incarnation; NULL: they are ready
    leased_until INTEGER,           -- ms since boot
    epoch        INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE UNIQUE INDEX shares_first ON shares (queue, first);
CREATE INDEX shares_ready        ON shares (queue, first) WHERE leased_by IS NULL;
CREATE INDEX shares_leased       ON shares (queue, leased_until, first) WHERE leased_by IS NOT NULL;
CREATE INDEX shares_by_id        ON shares (queue, most, least);

-- The tasks of shares one by one, for whoever looks; without their payloads.
CREATE VIEW packed AS
    SELECT shares.queue AS queue, substr(ids, 16 * each.key + 1, 16) AS id, packs.name AS name,
        iif(leased_by IS NULL, 0, 2) AS state, shares.first + each.key AS sequence, leased_by, leased_until, epoch
    FROM shares JOIN packs USING (pack),
        json_each('[' || rtrim(replace(replace(members, '0', '0,'), '1', '1,'), ',') || ']') AS each
    WHERE each.value = 1;

-- Who paused the queues that are paused.
CREATE TABLE pauses (
    queue     INTEGER PRIMARY KEY,
    paused_by TEXT    NOT NULL,
    at        INTEGER NOT NULL  -- wall-clock ms
) STRICT;

-- Ids that the user gave and that were settled. No task has one of them.
CREATE TABLE remembered (
    queue INTEGER NOT NULL,
    id    ANY     NOT NULL,
    until INTEGER NOT NULL,  -- wall-clock ms
    PRIMARY KEY (queue, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX remembered_until ON remembered (queue, until, id);

-- What became of tasks that are gone, where somebody wanted to know. No task has one of these ids.
CREATE TABLE results (
    outcome INTEGER PRIMARY KEY,
    queue   INTEGER NOT NULL,
    id      ANY     NOT NULL,
    until   INTEGER NOT NULL,  -- wall-clock ms
    result  TEXT               -- the JSON text as it was given; NULL: it was cancelled
) STRICT;

CREATE UNIQUE INDEX results_by_id ON results (queue, id);
CREATE INDEX results_until        ON results (queue, until, id);

-- Unique keys that are held after their task ended.
CREATE TABLE seen (
    queue      INTEGER NOT NULL,
    unique_key TEXT    NOT NULL,
    id         ANY     NOT NULL,  -- the task that had it
    until      INTEGER NOT NULL,  -- wall-clock ms; 2^62 and more: until the batch of the number above that has ended
    PRIMARY KEY (queue, unique_key)
) STRICT, WITHOUT ROWID;

CREATE INDEX seen_until      ON seen (queue, until, unique_key);
CREATE INDEX seen_of_batches ON seen (until) WHERE until > 4611686018427387904;

-- The tasks of a queue that have one key. No row where none is ready or leased and no interval goes on.
CREATE TABLE lines (
    queue      INTEGER NOT NULL,
    limit_key  TEXT    NOT NULL,
    ready      INTEGER NOT NULL,  -- how many tasks are in each state
    leased     INTEGER NOT NULL,
    not_before INTEGER NOT NULL,  -- when the interval after the last claim is over, in wall-clock ms; 0: a claim saw its end
    PRIMARY KEY (queue, limit_key)
) STRICT, WITHOUT ROWID;

CREATE INDEX lines_opening ON lines (queue, not_before, limit_key) WHERE not_before > 0;

-- Batches that go on, and how others ended. No number is given twice.
CREATE TABLE batches (
    batch     INTEGER PRIMARY KEY AUTOINCREMENT,
    name      TEXT    NOT NULL UNIQUE,
    unsettled INTEGER NOT NULL,  -- how many tasks
    done      INTEGER NOT NULL,
    dead      INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    until     INTEGER            -- ended: until when that is known, in wall-clock ms
) STRICT;

CREATE INDEX batches_ended ON batches (until, name) WHERE until IS NOT NULL;

-- Batches that have ended and whose keys are still in seen.
CREATE TABLE unheld (
    batch INTEGER PRIMARY KEY
) STRICT;

-- What enqueue calls were answered, for those who repeat them.
CREATE TABLE calls (
    incarnation BLOB    NOT NULL,
    sequence    INTEGER NOT NULL,
    until       INTEGER NOT NULL,  -- wall-clock ms
    answers     TEXT    NOT NULL,  -- one letter a task: e enqueued, x exists, d duplicate (its id and a space follow), f full, c closed
    PRIMARY KEY (incarnation, sequence)
) STRICT, WITHOUT ROWID;

CREATE INDEX calls_until ON calls (until);
