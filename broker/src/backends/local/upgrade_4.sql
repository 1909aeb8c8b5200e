-- From format 3 to format 4, in one transaction. What is made here is what `schema.sql` makes.

-- A program of format 3 that still runs reads this column in its first statement of every call. So it fails from now on,
-- instead of passing over tasks in packs.
ALTER TABLE queues RENAME COLUMN last_sequence TO highest_sequence;
ALTER TABLE queues ADD COLUMN packed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE queues ADD COLUMN shared INTEGER NOT NULL DEFAULT 0;

CREATE TABLE packs (
    pack         INTEGER PRIMARY KEY,
    queue        INTEGER NOT NULL,
    first        INTEGER NOT NULL,
    size         INTEGER NOT NULL,
    name         TEXT    NOT NULL,
    max_attempts INTEGER NOT NULL,
    max_crashes  INTEGER NOT NULL,
    ends         BLOB    NOT NULL,
    payloads     TEXT    NOT NULL
) STRICT;

CREATE TABLE shares (
    share        INTEGER PRIMARY KEY,
    queue        INTEGER NOT NULL,
    first        INTEGER NOT NULL,
    pack         INTEGER NOT NULL,
    start        INTEGER NOT NULL,
    ids          BLOB    NOT NULL,
    members      TEXT    NOT NULL,
    least        BLOB    NOT NULL,
    most         BLOB    NOT NULL,
    leased_by    BLOB,
    leased_until INTEGER,
    epoch        INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE UNIQUE INDEX shares_first ON shares (queue, first);
CREATE INDEX shares_ready        ON shares (queue, first) WHERE leased_by IS NULL;
CREATE INDEX shares_leased       ON shares (queue, leased_until, first) WHERE leased_by IS NOT NULL;
CREATE INDEX shares_by_id        ON shares (queue, most, least);

CREATE VIEW packed AS
    SELECT shares.queue AS queue, substr(ids, 16 * each.key + 1, 16) AS id, packs.name AS name,
        iif(leased_by IS NULL, 0, 2) AS state, shares.first + each.key AS sequence, leased_by, leased_until, epoch
    FROM shares JOIN packs USING (pack),
        json_each('[' || rtrim(replace(replace(members, '0', '0,'), '1', '1,'), ',') || ']') AS each
    WHERE each.value = 1;

ALTER TABLE tasks ADD COLUMN run_limit_ms INTEGER;

CREATE TABLE pauses (
    queue     INTEGER PRIMARY KEY,
    paused_by TEXT    NOT NULL,
    at        INTEGER NOT NULL
) STRICT;

UPDATE meta SET oldest_reader = 4, oldest_writer = 4;
