-- From format 2 to format 3, in one transaction. What is made here is what `schema.sql` makes.

-- A program of format 2 that still runs reads this column in its first statement of every call. So it fails from now on,
-- instead of taking tasks past the limits of their keys.
ALTER TABLE queues RENAME COLUMN sequence TO last_sequence;
ALTER TABLE queues ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
ALTER TABLE queues ADD COLUMN key_limit INTEGER NOT NULL DEFAULT 0;
ALTER TABLE queues ADD COLUMN key_interval_ms INTEGER NOT NULL DEFAULT 0;

ALTER TABLE meta ADD COLUMN ended_batches INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN touched INTEGER NOT NULL DEFAULT 0;

ALTER TABLE tasks ADD COLUMN limit_key TEXT;
ALTER TABLE tasks ADD COLUMN returned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN batch TEXT;
ALTER TABLE tasks ADD COLUMN progress TEXT;
ALTER TABLE tasks ADD COLUMN history TEXT;

DROP INDEX tasks_held;
DROP INDEX tasks_expiring;
DROP INDEX tasks_unique;
CREATE INDEX tasks_expiring      ON tasks (queue, expires, typeof(id), id) WHERE expires IS NOT NULL AND state IN (0, 1, 4);
CREATE UNIQUE INDEX tasks_unique ON tasks (queue, unique_key) WHERE unique_key IS NOT NULL AND state <> 3;
CREATE INDEX tasks_in_line       ON tasks (queue, limit_key, rank, place) WHERE state = 4;
CREATE INDEX seen_of_batches ON seen (until) WHERE until > 4611686018427387904;

CREATE TABLE lines (
    queue      INTEGER NOT NULL,
    limit_key  TEXT    NOT NULL,
    ready      INTEGER NOT NULL,
    leased     INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    PRIMARY KEY (queue, limit_key)
) STRICT, WITHOUT ROWID;

CREATE INDEX lines_opening ON lines (queue, not_before, limit_key) WHERE not_before > 0;

CREATE TABLE batches (
    batch     INTEGER PRIMARY KEY AUTOINCREMENT,
    name      TEXT    NOT NULL UNIQUE,
    unsettled INTEGER NOT NULL,
    done      INTEGER NOT NULL,
    dead      INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    until     INTEGER
) STRICT;

CREATE INDEX batches_ended ON batches (until, name) WHERE until IS NOT NULL;

CREATE TABLE unheld (
    batch INTEGER PRIMARY KEY
) STRICT;

CREATE TABLE calls (
    incarnation BLOB    NOT NULL,
    sequence    INTEGER NOT NULL,
    until       INTEGER NOT NULL,
    answers     TEXT    NOT NULL,
    PRIMARY KEY (incarnation, sequence)
) STRICT, WITHOUT ROWID;

CREATE INDEX calls_until ON calls (until);

UPDATE meta SET oldest_reader = 3, oldest_writer = 3;
