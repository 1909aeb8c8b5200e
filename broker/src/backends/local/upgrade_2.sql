-- From format 1 to format 2, in one transaction; `upgrade_3.sql` goes on from there.

-- A program of format 1 that still runs reads this column in its first statement of every call. So it fails from now on,
-- instead of adding tasks that have no place.
ALTER TABLE queues RENAME COLUMN deaths TO last_death;
ALTER TABLE queues ADD COLUMN claim_order INTEGER NOT NULL DEFAULT 0;
ALTER TABLE queues ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE queues ADD COLUMN results INTEGER NOT NULL DEFAULT 0;
ALTER TABLE queues ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;

ALTER TABLE tasks ADD COLUMN cancelled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN place INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN expires INTEGER;
ALTER TABLE tasks ADD COLUMN unique_key TEXT;
ALTER TABLE tasks ADD COLUMN unique_hold_ms INTEGER;
ALTER TABLE tasks ADD COLUMN keep_result_ms INTEGER;
ALTER TABLE tasks ADD COLUMN died INTEGER;

DROP INDEX tasks_ready;
DROP INDEX tasks_dead;
-- All queues were first in, first out.
UPDATE tasks SET place = sequence;
CREATE INDEX tasks_ready         ON tasks (queue, must_alone, rank, place, expires) WHERE state = 0;
CREATE INDEX tasks_dead          ON tasks (queue, death, died) WHERE state = 3;
CREATE INDEX tasks_expiring      ON tasks (queue, expires, typeof(id), id) WHERE expires IS NOT NULL AND state < 2;
CREATE UNIQUE INDEX tasks_unique ON tasks (queue, unique_key) WHERE unique_key IS NOT NULL AND state < 3;

CREATE TABLE results (
    outcome INTEGER PRIMARY KEY,
    queue   INTEGER NOT NULL,
    id      ANY     NOT NULL,
    until   INTEGER NOT NULL,
    result  TEXT
) STRICT;

CREATE UNIQUE INDEX results_by_id ON results (queue, id);
CREATE INDEX results_until        ON results (queue, until, id);

CREATE TABLE seen (
    queue      INTEGER NOT NULL,
    unique_key TEXT    NOT NULL,
    id         ANY     NOT NULL,
    until      INTEGER NOT NULL,
    PRIMARY KEY (queue, unique_key)
) STRICT, WITHOUT ROWID;

CREATE INDEX seen_until ON seen (queue, until, unique_key);

UPDATE meta SET oldest_reader = 2, oldest_writer = 2;
