//! What is given to one task of a queue and to no other: sequences, and orders of death.

use rusqlite::types::Value;

use super::{Books, MOST, lossy};
use crate::fsck::Report;

/// A column that tells the order of some tasks of a queue, and the counter of what was given.
pub(super) struct Order {
    /// Of `tasks`.
    pub(super) column: &'static str,
    /// Of `queues`: the last one given.
    pub(super) counter: &'static str,
    /// Whose order it is, in SQL.
    pub(super) of: &'static str,
    what: &'static str,
}

/// What is ready stands by its sequence, and what is leased comes back under the one that it had; so does what is held.
pub(super) const ORDERS: [Order; 2] = [
    Order {
        column: "sequence",
        counter: "highest_sequence",
        of: "state IN (0, 2, 4)",
        what: "its sequence is none of its own",
    },
    Order {
        column: "death",
        counter: "last_death",
        of: "state = 3",
        what: "its order of death is none of its own",
    },
];

struct Misplaced {
    task: i64,
    queue: i64,
    id: Value,
}

impl Books<'_> {
    /// Those that have none, one that cannot have been given, or one that another has; in their order.
    fn misplaced(&self, Order { column, of, .. }: &Order) -> rusqlite::Result<Vec<Misplaced>> {
        let numbered = format!(
            "SELECT task, queue, id, {column} AS place, \
             row_number() OVER (PARTITION BY queue, {column} ORDER BY task) AS number \
             FROM tasks NOT INDEXED WHERE {of}"
        );
        let sql = format!(
            "SELECT task, queue, id FROM ({numbered}) \
             WHERE place IS NULL OR number > 1 OR place NOT BETWEEN 1 AND {MOST} ORDER BY queue, place, task"
        );
        self.list(&sql, |row| {
            Ok(Misplaced { task: row.get(0)?, queue: row.get(1)?, id: lossy(row.get_ref(2)?) })
        })
    }

    pub(super) fn look_at_orders(&self, report: &mut Report) -> rusqlite::Result<()> {
        for order in &ORDERS {
            for Misplaced { queue, id, .. } in self.misplaced(order)? {
                report.add(self.about(queue, &id, order.what).repair("it gets the next one"));
            }
        }
        Ok(())
    }

    /// The counters were mended before: what they give next was never given.
    pub(super) fn mend_orders(&self) -> rusqlite::Result<()> {
        for order in &ORDERS {
            let Order { column, counter, .. } = order;
            let count =
                format!("UPDATE queues SET {counter} = {counter} + 1 WHERE queue = ?1 RETURNING {counter}");
            let (mut count, mut give) = (
                self.connection.prepare(&count)?,
                self.connection.prepare(&format!("UPDATE tasks SET {column} = ?2 WHERE task = ?1"))?,
            );
            for Misplaced { task, queue, .. } in self.misplaced(order)? {
                let next: i64 = count.query_row([queue], |row| row.get(0))?;
                give.execute([task, next])?;
            }
        }
        Ok(())
    }
}
