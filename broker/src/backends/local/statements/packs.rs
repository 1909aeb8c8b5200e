//! Packs and their shares. Parameters are named in the order of their numbers.

/// Reads a share as `Share::read` needs it; more columns may follow.
macro_rules! share {
    ($($rest:literal),+) => {
        concat!(
            "SELECT share, queue, first, pack, start, ids, members, leased_by, leased_until, epoch",
            $($rest),+
        )
    };
}

/// 1 queue, 2 first, 3 size, 4 name, 5 max_attempts, 6 max_crashes, 7 ends, 8 payloads
pub(in super::super) const ADD_PACK: &str = "INSERT INTO packs (queue, first, size, name, max_attempts, max_crashes, ends, \
    payloads) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) RETURNING pack";

/// 1 pack
pub(in super::super) const PACK: &str =
    "SELECT name, max_attempts, max_crashes, ends, payloads FROM packs WHERE pack = ?1";

/// 1 pack. If no share of it is left.
pub(in super::super) const DROP_PACK: &str = "DELETE FROM packs WHERE pack = ?1 AND NOT EXISTS (SELECT 1 FROM shares \
    WHERE shares.queue = packs.queue AND shares.first BETWEEN packs.first AND packs.first + packs.size - 1)";

/// 1 queue, 2 first, 3 pack, 4 start, 5 ids, 6 members, 7 least, 8 most, 9 leased_by, 10 leased_until, 11 epoch
pub(in super::super) const ADD_SHARE: &str = "INSERT INTO shares (queue, first, pack, start, ids, members, least, most, \
    leased_by, leased_until, epoch) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

/// 1 share, 2 leased_by, 3 leased_until, 4 epoch
pub(in super::super) const LEASE_SHARE: &str =
    "UPDATE shares SET leased_by = ?2, leased_until = ?3, epoch = ?4 WHERE share = ?1";

/// 1 share, 2 first, 3 start, 4 ids, 5 members, 6 least
pub(in super::super) const CUT_SHARE: &str =
    "UPDATE shares SET first = ?2, start = ?3, ids = ?4, members = ?5, least = ?6 WHERE share = ?1";

/// 1 share, 2 members
pub(in super::super) const SAVE_MEMBERS: &str = "UPDATE shares SET members = ?2 WHERE share = ?1";

/// 1 share, 2 leased_until
pub(in super::super) const RENEW_SHARE: &str = "UPDATE shares SET leased_until = ?2 WHERE share = ?1";

/// 1 share
pub(in super::super) const DROP_SHARE: &str = "DELETE FROM shares WHERE share = ?1";

/// 1 share
pub(in super::super) const SHARE: &str = share!(" FROM shares WHERE share = ?1");

/// 1 queue, 2 least, 3 most, 4 what the last id of one that reaches this far can be
pub(in super::super) const SHARES_AROUND: &str = "SELECT share FROM shares \
    WHERE queue = ?1 AND most BETWEEN ?2 AND ?4 AND least <= ?3 ORDER BY most";

/// 1 queue
pub(in super::super) const FIRST_READY_SHARE: &str = share!(
    ", (SELECT generation FROM meta) FROM shares WHERE leased_by IS NULL AND queue = ?1 ORDER BY first LIMIT 1"
);

/// 1 queue, 2 first, 3 most
pub(in super::super) const READY_SHARES: &str =
    share!(" FROM shares WHERE leased_by IS NULL AND queue = ?1 AND first > ?2 ORDER BY first LIMIT ?3");

/// 1 queue, 2 leased_until, 3 first, 4 most
pub(in super::super) const LEASED_SHARES: &str = share!(
    " FROM shares WHERE leased_by IS NOT NULL AND queue = ?1 AND (leased_until, first) > (?2, ?3) \
     ORDER BY leased_until, first LIMIT ?4"
);

/// 1 queue, 2 now
pub(in super::super) const FIRST_EXPIRED_SHARE: &str = share!(
    " FROM shares WHERE leased_by IS NOT NULL AND queue = ?1 AND leased_until <= ?2 ORDER BY leased_until, first LIMIT 1"
);

/// 1 incarnation. Looks at all that is leased, as `HELD`.
pub(in super::super) const HELD_SHARES: &str =
    share!(" FROM shares WHERE leased_by IS NOT NULL AND leased_by = ?1 ORDER BY queue, leased_until, first");

/// 1 queue, 2 least, 3 most. Whether a row has an id between them.
pub(in super::super) const HAS_ROWS: &str =
    "SELECT 1 FROM tasks WHERE queue = ?1 AND id BETWEEN ?2 AND ?3 LIMIT 1";

/// 1 queue, 2 least, 3 most. Whether anything is known of a task that is gone and had an id between them.
pub(in super::super) const HAS_TRACES: &str = "SELECT 1 FROM remembered WHERE queue = ?1 AND id BETWEEN ?2 AND ?3 \
    UNION ALL SELECT 1 FROM results WHERE queue = ?1 AND id BETWEEN ?2 AND ?3 LIMIT 1";

/// 1 queue, 2 id, 3 name, 4 payload, 5 state, 6 sequence, 7 leased_by, 8 leased_until, 9 epoch, 10 max_attempts, 11 max_crashes
pub(in super::super) const UNPACK: &str = "INSERT INTO tasks (queue, id, id_given, name, payload, state, sequence, must_alone, \
    leased_by, leased_until, epoch, attempts, max_attempts, crashes, max_crashes, deaths, alone, parks, parked_since, place) \
    VALUES (?1, ?2, 0, ?3, ?4, ?5, ?6, 0, ?7, ?8, ?9, 0, ?10, 0, ?11, 0, 0, 0, 0, ?6)";

/// 1 queue, 2 must_alone, 3 now, 4 most, 5 place
pub(in super::super) const READY_BEFORE: &str = task!(
    ", name, payload, (SELECT generation FROM meta), run_limit_ms FROM tasks WHERE state = 0 AND queue = ?1 \
     AND must_alone = ?2 AND (expires IS NULL OR expires > ?3) AND (rank, place) < (0, ?5) ORDER BY rank, place LIMIT ?4"
);
