-- The tables of format 1, as they were; for the tests of upgrades.
-- What holds for the whole file.
CREATE TABLE meta (
    one           INTEGER PRIMARY KEY CHECK (one = 1),
    oldest_reader INTEGER NOT NULL,  -- the oldest format that may read this file
    oldest_writer INTEGER NOT NULL,  -- the oldest format that may write it
    boot          TEXT    NOT NULL,  -- the boot in which leased_until counts
    generation    INTEGER NOT NULL   -- raises all epochs; see machine::Progress::claim
) STRICT;

CREATE TABLE queues (
    queue           INTEGER PRIMARY KEY,
    name            TEXT    NOT NULL UNIQUE,
    capacity        INTEGER NOT NULL,
    remember_ids_ms INTEGER NOT NULL,
    revision        INTEGER NOT NULL,  -- counts the changes of the options
    configured      INTEGER NOT NULL,  -- 0: exists only by use
    closed          INTEGER NOT NULL,
    sequence        INTEGER NOT NULL,  -- the last one given
    deaths          INTEGER NOT NULL,  -- the last order of death given
    ready           INTEGER NOT NULL,  -- how many tasks are in each state
    ready_alone     INTEGER NOT NULL,  -- those of them that must run alone
    scheduled       INTEGER NOT NULL,
    leased          INTEGER NOT NULL,
    dead            INTEGER NOT NULL,
    remembered      INTEGER NOT NULL
) STRICT;

CREATE TABLE tasks (
    task         INTEGER PRIMARY KEY,
    queue        INTEGER NOT NULL,
    id           ANY     NOT NULL,  -- 16 bytes for a UUID, else text
    id_given     INTEGER NOT NULL,  -- by the user: remembered after settlement
    name         TEXT    NOT NULL,
    payload      TEXT    NOT NULL,  -- the JSON text as it was given
    state        INTEGER NOT NULL,  -- 0 ready, 1 scheduled, 2 leased, 3 dead
    sequence     INTEGER NOT NULL,  -- the place in the queue
    must_alone   INTEGER NOT NULL,  -- may be claimed only to run alone
    due          INTEGER,           -- scheduled: wall-clock ms
    leased_by    BLOB,              -- leased: the incarnation
    leased_until INTEGER,           -- leased: ms since boot
    death        INTEGER,           -- dead: the order
    epoch        INTEGER NOT NULL,  -- from here on: machine::Progress
    attempts     INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    crashes      INTEGER NOT NULL,
    max_crashes  INTEGER NOT NULL,
    deaths       INTEGER NOT NULL,
    alone        INTEGER NOT NULL,
    parks        INTEGER NOT NULL,
    parked_since INTEGER NOT NULL,
    error        TEXT
) STRICT;

CREATE UNIQUE INDEX tasks_by_id ON tasks (queue, id);
CREATE INDEX tasks_ready     ON tasks (queue, must_alone, sequence) WHERE state = 0;
CREATE INDEX tasks_scheduled ON tasks (queue, due, sequence) WHERE state = 1;
CREATE INDEX tasks_leased    ON tasks (queue, leased_until, sequence) WHERE state = 2;
CREATE INDEX tasks_held      ON tasks (leased_by) WHERE state = 2;
CREATE INDEX tasks_dead      ON tasks (queue, death) WHERE state = 3;

-- Ids that the user gave and that were settled.
CREATE TABLE remembered (
    queue INTEGER NOT NULL,
    id    ANY     NOT NULL,
    until INTEGER NOT NULL,  -- wall-clock ms
    PRIMARY KEY (queue, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX remembered_until ON remembered (queue, until, id);
