//! What is kept of tasks that ended: remembered ids, results, and unique keys that are seen. None of it is of a task that is there.

use std::collections::HashMap;

use super::{Books, lossy};
use crate::fsck::{Finding, Report};

/// A table of what is kept, and a counter of the same name in `queues`.
pub(super) struct Kept {
    pub(super) table: &'static str,
    /// Queue and id of the rows that contradict a task, in SQL. Both tables in full: an index may be what is damaged.
    present: &'static str,
    /// How those rows are found, in SQL.
    by: &'static str,
    what: &'static str,
    repair: &'static str,
    /// What is of queues that do not exist.
    stray: &'static str,
}

pub(super) const KEPT: [Kept; 3] = [
    Kept {
        table: "remembered",
        present: "SELECT queue, id FROM tasks NOT INDEXED INTERSECT SELECT queue, id FROM remembered",
        by: "(queue, id)",
        what: "it is remembered as settled, but is not",
        repair: "the memory of it is removed",
        stray: "ids are remembered for queues that do not exist",
    },
    Kept {
        table: "results",
        present: "SELECT queue, id FROM tasks NOT INDEXED INTERSECT SELECT queue, id FROM results NOT INDEXED",
        by: "(queue, id)",
        what: "it has a result, but is not settled",
        repair: "the result is removed",
        stray: "results are kept for queues that do not exist",
    },
    Kept {
        table: "seen",
        present: "SELECT queue, unique_key FROM tasks NOT INDEXED WHERE unique_key IS NOT NULL AND state <> 3 \
            INTERSECT SELECT queue, unique_key FROM seen",
        by: "(queue, unique_key)",
        what: "its unique key is seen, as if it had ended",
        repair: "the key is its own",
        stray: "unique keys are seen for queues that do not exist",
    },
];

impl Kept {
    fn strays(&self) -> String {
        format!("FROM {} WHERE queue NOT IN (SELECT queue FROM queues)", self.table)
    }
}

impl Books<'_> {
    pub(super) fn look_at_kept(&self, report: &mut Report) -> rusqlite::Result<()> {
        for kept in &KEPT {
            let sql = format!(
                "SELECT queue, id FROM tasks NOT INDEXED WHERE {} IN ({}) {}",
                kept.by,
                kept.present,
                if kept.table == "seen" { "AND state <> 3" } else { "" }
            );
            for (queue, id) in self.list(&sql, |row| Ok((row.get(0)?, lossy(row.get_ref(1)?))))? {
                report.add(self.about(queue, &id, kept.what).repair(kept.repair));
            }
            let sql = format!("SELECT count(*) {}", kept.strays());
            let strays: i64 = self.connection.query_row(&sql, [], |row| row.get(0))?;
            if strays > 0 {
                report.add(Finding::new(None, format!("{strays} {}", kept.stray)).repair("they are removed"));
            }
        }
        Ok(())
    }

    pub(super) fn mend_kept(&self) -> rusqlite::Result<()> {
        for kept in &KEPT {
            self.connection.execute(&format!("DELETE {}", kept.strays()), [])?;
            let sql = format!("DELETE FROM {} WHERE {} IN ({})", kept.table, kept.by, kept.present);
            self.connection.execute(&sql, [])?;
        }
        Ok(())
    }

    /// How much is kept for each queue, in the order of [`KEPT`].
    pub(super) fn count_kept(&self) -> rusqlite::Result<HashMap<i64, [i64; KEPT.len()]>> {
        let mut counts: HashMap<i64, [i64; KEPT.len()]> = HashMap::new();
        for (at, kept) in KEPT.iter().enumerate() {
            let sql = format!("SELECT queue, count(*) FROM {} GROUP BY queue", kept.table);
            for (queue, count) in self.list(&sql, |row| Ok((row.get(0)?, row.get(1)?)))? {
                counts.entry(queue).or_default()[at] = count;
            }
        }
        Ok(counts)
    }
}
