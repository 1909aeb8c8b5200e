//! Damages of tables by SQL, and what is found of each.

use super::*;

pub(crate) const ROWS: &[Damage<'static>] = &[
    damage(
        "UPDATE tasks SET state = 7 WHERE id = 'new'",
        &[("new", "its state is none"), ("", "the counter ready is 5, but there are 4")],
    ),
    damage("UPDATE tasks SET due = NULL WHERE id = 'later'", &[("later", "it is scheduled for no time")]),
    damage(
        "UPDATE tasks SET leased_by = NULL WHERE id = 'leased'",
        &[("leased", "it is leased, but nobody can hold it")],
    ),
    damage(
        "UPDATE tasks SET leased_by = x'0102' WHERE id = 'leased'",
        &[("leased", "it is leased, but nobody can hold it")],
    ),
    damage(
        "UPDATE tasks SET leased_until = NULL WHERE id = 'leased'",
        &[("leased", "it is leased, but nobody can hold it")],
    ),
    damage(
        "UPDATE tasks SET epoch = 0 WHERE id = 'leased'",
        &[("leased", "it is leased, but nobody can hold it")],
    ),
    damage(
        "UPDATE tasks SET leased_until = 1 << 60 WHERE id = 'leased'",
        &[("leased", "its lease ends later than any can")],
    ),
    damage("UPDATE tasks SET epoch = -1 WHERE id = 'back'", &[("back", "its epoch is out of bounds")]),
    damage(
        "UPDATE tasks SET due = 5 WHERE id = 'new'",
        &[("new", "it is not scheduled, but has a time to become ready")],
    ),
    damage(
        "UPDATE tasks SET leased_until = 5 WHERE id = 'new'",
        &[("new", "it is not leased, but has a holder")],
    ),
    damage(
        "UPDATE tasks SET death = 1 WHERE id = 'later'",
        &[("later", "it is not dead, but has an order of death")],
    ),
    damage("UPDATE tasks SET alone = 1 WHERE id = 'new'", &[("new", "it is not leased, but runs alone")]),
    damage(
        "UPDATE tasks SET alone = 1 WHERE id = 'leased'",
        &[("leased", "whether it runs alone is not what the deaths of its holders say")],
    ),
    damage(
        "UPDATE tasks SET deaths = 3 WHERE id = 'later'",
        &[("later", "it is scheduled, and has a row of deaths that no crash explains")],
    ),
    damage(
        "UPDATE tasks SET deaths = 1 WHERE id = 'later'",
        &[("later", "it is scheduled, and has a row of deaths that no crash explains")],
    ),
    damage(
        "UPDATE tasks SET must_alone = 0 WHERE id = 'alone'",
        &[
            ("alone", "whether it must run alone is not what the deaths of its holders say"),
            ("", "the counter ready_alone is 1, but there are 0"),
        ],
    ),
    damage(
        "UPDATE tasks SET must_alone = 1 WHERE id = 'dead'",
        &[("dead", "it can not be claimed, but must run alone")],
    ),
    damage(
        "UPDATE tasks SET attempts = -1 WHERE id = 'new'",
        &[("new", "one of its counts is out of bounds")],
    ),
    damage(
        "UPDATE tasks SET crashes = -1 WHERE id = 'new'",
        &[("new", "one of its counts is out of bounds")],
    ),
    damage("UPDATE tasks SET deaths = -1 WHERE id = 'new'", &[("new", "one of its counts is out of bounds")]),
    damage(
        "UPDATE tasks SET parks = 1 << 40 WHERE id = 'new'",
        &[("new", "one of its counts is out of bounds")],
    ),
    damage(
        "UPDATE tasks SET max_attempts = 0 WHERE id = 'new'",
        &[("new", "its limit of attempts is out of bounds")],
    ),
    damage(
        "UPDATE tasks SET max_crashes = 0 WHERE id = 'new'",
        &[("new", "its limit of crashes is out of bounds")],
    ),
    damage(
        "UPDATE tasks SET sequence = (SELECT sequence FROM tasks WHERE id = 'new') WHERE id = 'newer'",
        &[
            ("newer", "its sequence is none of its own"),
            ("newer", "it stands at another place than its sequence says"),
        ],
    ),
    damage(
        "UPDATE tasks SET sequence = 0 WHERE id = 'new'",
        &[
            ("new", "its sequence is none of its own"),
            ("new", "it stands at another place than its sequence says"),
        ],
    ),
    damage(
        "UPDATE tasks SET death = NULL WHERE id = 'dead'",
        &[("dead", "its order of death is none of its own")],
    ),
    damage(
        "UPDATE tasks SET error = CAST(x'ff' AS TEXT) WHERE id = 'new'",
        &[("new", "its error is no text")],
    ),
    damage(
        "INSERT INTO remembered VALUES (1, 'new', 1 << 60)",
        &[
            ("new", "it is remembered as settled, but is not"),
            ("", "the counter remembered is 1, but there are 2"),
        ],
    ),
    damage(
        "UPDATE tasks SET place = 77 WHERE id = 'new'",
        &[("new", "it stands at another place than its sequence says")],
    ),
    damage(
        "UPDATE tasks SET rank = 5 WHERE id = 'new'",
        &[("new", "it has a rank, where its queue has no priorities")],
    ),
    damage("UPDATE tasks SET rank = 1 << 60 WHERE id = 'dead'", &[("dead", "its rank is out of bounds")]),
    damage(
        "UPDATE tasks SET cancelled = 1 WHERE id = 'new'",
        &[("new", "it is to be cancelled, but nobody holds it")],
    ),
    damage(
        "UPDATE tasks SET died = NULL WHERE id = 'dead'",
        &[("dead", "it is dead, but not since any time")],
    ),
    damage(
        "UPDATE tasks SET died = 5 WHERE id = 'leased'",
        &[("leased", "it is not dead, but has a time of its death")],
    ),
    damage("UPDATE tasks SET expires = 5 WHERE id = 'back'", &[("back", "it expires, but was claimed")]),
    damage(
        "UPDATE tasks SET unique_key = 'k' WHERE id = 'new'",
        &[("new", "its unique key is held for no time that is one")],
    ),
    damage(
        "UPDATE tasks SET unique_hold_ms = 5 WHERE id = 'new'",
        &[("new", "it has no unique key, but a time to hold one")],
    ),
    damage(
        "UPDATE tasks SET keep_result_ms = -1 WHERE id = 'dead'",
        &[("dead", "its result is kept for no time that is one")],
    ),
    damage(
        "UPDATE tasks SET state = 4 WHERE id = 'new'",
        &[
            ("new", "it is held, but has no key"),
            ("", "the counter held is 0, but there are 1"),
            ("", "the counter ready is 5, but there are 4"),
        ],
    ),
    damage(
        "UPDATE tasks SET returned = 1 WHERE id = 'new'",
        &[("new", "it is marked as given back, but does not wait for its key")],
    ),
    damage(
        "UPDATE tasks SET progress = '1' WHERE id = 'new'",
        &[("new", "it is not leased, but has a progress")],
    ),
    damage("UPDATE tasks SET progress = '{' WHERE id = 'leased'", &[("leased", "its progress is no JSON")]),
    damage("UPDATE tasks SET history = '[1]' WHERE id = 'back'", &[("back", "its history is none")]),
    damage("UPDATE tasks SET history = '{' WHERE id = 'dead'", &[("dead", "its history is none")]),
    damage(
        "UPDATE tasks SET unique_key = '', unique_hold_ms = 0 WHERE id = 'new'",
        &[("new", "its unique key is none")],
    ),
    damage(
        "UPDATE tasks SET unique_key = 'k', unique_hold_ms = -1 WHERE id = 'new'",
        &[("new", "its unique key is held for no time that is one")],
    ),
    damage("UPDATE tasks SET limit_key = '' WHERE id = 'new'", &[("new", "its key is none")]),
    damage(
        "UPDATE tasks SET batch = 'a b' WHERE id = 'new'",
        &[("new", "its batch has a name that is none")],
    ),
];

/// What is kept of tasks that ended.
pub(crate) const KEPT: &[Damage<'static>] = &[
    damage(
        "INSERT INTO results VALUES (NULL, 1, 'new', 1 << 60, '1')",
        &[("new", "it has a result, but is not settled"), ("", "the counter results is 0, but there are 1")],
    ),
    damage(
        "UPDATE tasks SET unique_key = 'k', unique_hold_ms = 0 WHERE id = 'new'; \
         INSERT INTO seen VALUES (1, 'k', 'new', 1 << 60); UPDATE queues SET seen = 1",
        &[("new", "its unique key is seen, as if it had ended")],
    ),
    damage("UPDATE queues SET results = 3", &[("", "the counter results is 3, but there are 0")]),
    damage("UPDATE queues SET seen = 3", &[("", "the counter seen is 3, but there are 0")]),
];

pub(crate) const QUEUES: &[Damage<'static>] = &[
    damage("UPDATE queues SET ready = 9", &[("", "the counter ready is 9, but there are 5")]),
    damage("UPDATE queues SET ready_alone = 0", &[("", "the counter ready_alone is 0, but there are 1")]),
    damage("UPDATE queues SET scheduled = 0", &[("", "the counter scheduled is 0, but there are 1")]),
    damage("UPDATE queues SET leased = 0", &[("", "the counter leased is 0, but there are 1")]),
    damage("UPDATE queues SET dead = 0", &[("", "the counter dead is 0, but there are 1")]),
    damage("UPDATE queues SET remembered = 0", &[("", "the counter remembered is 0, but there are 1")]),
    damage(
        "UPDATE queues SET highest_sequence = 2",
        &[("", "the counter highest_sequence is 2, but 9 was given")],
    ),
    damage("UPDATE queues SET held = 3", &[("", "the counter held is 3, but there are 0")]),
    damage("UPDATE queues SET key_limit = -1", &[("", "key_limit is -1, which is out of bounds")]),
    damage(
        "UPDATE queues SET key_interval_ms = 1 << 60",
        &[("", "key_interval_ms is 1152921504606846976, which is out of bounds")],
    ),
    damage("UPDATE queues SET last_death = 0", &[("", "the counter last_death is 0, but 1 was given")]),
    damage("UPDATE queues SET capacity = -1", &[("", "capacity is -1, which is out of bounds")]),
    damage(
        "UPDATE queues SET remember_ids_ms = -1",
        &[("", "remember_ids_ms is -1, which is out of bounds")],
    ),
    damage("UPDATE queues SET claim_order = 7", &[("", "claim_order is 7, which is out of bounds")]),
    damage("UPDATE queues SET paused = 7", &[("", "paused is 7, which is out of bounds")]),
    damage("UPDATE queues SET revision = 0", &[("", "revision is 0, which is out of bounds")]),
];

/// What cannot be handed out stops everybody's claims: it is buried.
pub(crate) const UNREADABLE: &[Damage<'static>] = &[
    Damage {
        done: "UPDATE tasks SET name = 'a b' WHERE id = 'new'",
        found: &[("new", "its name is none")],
        dead: &["new"],
    },
    Damage {
        done: "UPDATE tasks SET id = x'00ff' WHERE id = 'new'",
        found: &[("x'00ff'", "its id is none")],
        dead: &["new"],
    },
    Damage {
        done: "UPDATE tasks SET id = 'a b' WHERE id = 'leased'",
        found: &[("a b", "its id is none")],
        dead: &["leased"],
    },
    Damage {
        done: "UPDATE tasks SET payload = CAST(x'ff' AS TEXT) WHERE id = 'new'",
        found: &[("new", "its payload is no text")],
        dead: &["new"],
    },
    Damage {
        done: "UPDATE tasks SET id = CAST(x'ff' AS TEXT) WHERE id = 'new'",
        found: &[("\u{fffd}", "its id is none")],
        dead: &["new"],
    },
    // Found by its bytes only.
    Damage {
        done: "UPDATE tasks SET id = '0199f0a0-1111-7222-8333-444455556666' WHERE typeof(id) = 'blob'",
        found: &[(UUID, "its id is none")],
        dead: &[UUID],
    },
];
