//! Where ready and held tasks stand, as their sequences and the order of their queue say; and unique keys, which no two may have.

use rusqlite::types::Value;

use super::{Books, lossy};
use crate::fsck::Report;

/// What must hold of tasks of a queue, in SQL over `tasks` and `queues`.
struct Rule {
    wrong: &'static str,
    what: &'static str,
    repair: &'static str,
    mend: &'static str,
}

/// `machine::place` and `machine::held_place` in SQL. Last in, first out, only one that was claimed before can have been given back; one that was tried again was
/// claimed, too, and stands by its new sequence.
const RULES: [Rule; 3] = [
    Rule {
        wrong: "state <> 3 AND claim_order <> 2 AND rank <> 0",
        what: "it has a rank, where its queue has no priorities",
        repair: "the rank is removed",
        mend: "rank = 0",
    },
    Rule {
        wrong: "state = 0 AND CASE claim_order WHEN 1 THEN place <> -tasks.sequence \
            AND (epoch = 0 OR place <> -(1 << 60) - tasks.sequence) ELSE place <> tasks.sequence END",
        what: "it stands at another place than its sequence says",
        repair: "its own",
        mend: "place = CASE (SELECT claim_order FROM queues WHERE queues.queue = tasks.queue) \
            WHEN 1 THEN iif(epoch = 0, 0, -(1 << 60)) - sequence ELSE sequence END",
    },
    Rule {
        wrong: "state = 4 AND place <> iif(returned, -(1 << 60), 0) + iif(claim_order = 1, -sequence, sequence)",
        what: "it waits at another place than its sequence says",
        repair: "its own",
        mend: "place = iif(returned, -(1 << 60), 0) \
            + iif((SELECT claim_order FROM queues WHERE queues.queue = tasks.queue) = 1, -sequence, sequence)",
    },
];

/// Unsettled tasks whose key another has that came before.
const SECOND: &str = "SELECT task, queue, id FROM (SELECT task, queue, id, \
    row_number() OVER (PARTITION BY queue, unique_key ORDER BY state = 2 DESC, task) AS number \
    FROM tasks NOT INDEXED WHERE unique_key IS NOT NULL AND state <> 3) WHERE number > 1";

impl Books<'_> {
    fn of_queues(&self, rule: &Rule) -> rusqlite::Result<Vec<(i64, i64, Value)>> {
        let wrong = rule.wrong;
        let sql = format!(
            "SELECT task, tasks.queue, id FROM tasks NOT INDEXED CROSS JOIN queues ON queues.queue = tasks.queue WHERE {wrong}"
        );
        self.list(&sql, |row| Ok((row.get(0)?, row.get(1)?, lossy(row.get_ref(2)?))))
    }

    fn second_holders(&self) -> rusqlite::Result<Vec<(i64, i64, Value)>> {
        self.list(SECOND, |row| Ok((row.get(0)?, row.get(1)?, lossy(row.get_ref(2)?))))
    }

    pub(super) fn look_at_places(&self, report: &mut Report) -> rusqlite::Result<()> {
        for rule in &RULES {
            for (_, queue, id) in self.of_queues(rule)? {
                report.add(self.about(queue, &id, rule.what).repair(rule.repair));
            }
        }
        for (_, queue, id) in self.second_holders()? {
            let what = "its unique key is held by another task";
            report.add(self.about(queue, &id, what).repair("it goes on without a key"));
        }
        Ok(())
    }

    /// After the sequences.
    pub(super) fn mend_places(&self) -> rusqlite::Result<()> {
        for rule in &RULES {
            let mut mend =
                self.connection.prepare(&format!("UPDATE tasks SET {} WHERE task = ?1", rule.mend))?;
            for (task, ..) in self.of_queues(rule)? {
                mend.execute([task])?;
            }
        }
        let sql = "UPDATE tasks SET unique_key = NULL, unique_hold_ms = NULL WHERE task = ?1";
        let mut free = self.connection.prepare(sql)?;
        for (task, ..) in self.second_holders()? {
            free.execute([task])?;
        }
        Ok(())
    }
}
