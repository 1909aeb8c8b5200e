//! Queues: their options and counters, as the tasks and the remembered ids say.

use std::collections::HashMap;

use super::{Books, MOST, kept::KEPT, orders::ORDERS};
use crate::{
    QueueName,
    backends::local::keys::{int, uint},
    clock::millis,
    fsck::{Finding, Report},
    limits,
};

/// The columns that count tasks, and which, in SQL.
const COUNTERS: [(&str, &str); 8] = [
    ("ready", "state = 0"),
    ("ready_alone", "state = 0 AND must_alone <> 0"),
    ("scheduled", "state = 1"),
    ("held", "state = 4"),
    ("leased", "state = 2"),
    ("dead", "state = 3"),
    // Rows are in no pack.
    ("packed", "FALSE"),
    ("shared", "FALSE"),
];

/// Of each queue and whether it is leased: how much of packs there is, and the highest sequence of it.
const SHARES: &str = "SELECT queue, leased_by IS NOT NULL, sum(length(replace(members, '0', ''))), \
    max(first + length(members) - 1) FROM shares NOT INDEXED GROUP BY 1, 2";

/// The options: bounds, and the default.
fn options() -> [(&'static str, i64, i64, i64); 7] {
    [
        ("capacity", 1, MOST, int(limits::CAPACITY)),
        ("remember_ids_ms", 0, int(millis(limits::MAX_DELAY)), int(millis(limits::REMEMBER_IDS))),
        ("revision", 1, MOST, 1),
        ("claim_order", 0, 2, 0),
        ("paused", 0, 1, 0),
        ("key_limit", 0, i64::from(limits::MAX_KEY_LIMIT), 0),
        ("key_interval_ms", 0, int(millis(limits::MAX_KEY_INTERVAL)), 0),
    ]
}

/// A column of a queue that is to hold another number.
struct Wrong {
    queue: i64,
    column: &'static str,
    wanted: i64,
    what: String,
    repair: String,
}

impl Books<'_> {
    pub(super) fn look_at_queues(&self, report: &mut Report) -> rusqlite::Result<()> {
        for Wrong { queue, what, repair, .. } in self.wrong_numbers()? {
            report.add(Finding::new(self.name(queue), what).repair(repair));
        }
        for (queue, over) in self.over_full()? {
            let what = format!("{over} dead tasks are more than the limit of {}", limits::MAX_DEAD);
            report.add(Finding::new(self.name(queue), what).repair("the oldest of them go"));
        }
        let nameless: Vec<_> = self.nameless().collect();
        for (queue, name) in nameless {
            let repair = format!("it is named {}", recovered(queue));
            report.add(Finding::new(Some(name), "its name is none").repair(repair));
        }
        for queue in self.list(ORPHANS, |row| row.get(0))? {
            let (what, name) = ("tasks of a queue that does not exist", recovered(queue));
            report.add(Finding::new(None, what).repair(format!("a queue {name} is made for them")));
        }
        if let Some(generation) = self.lost_generation()? {
            let what = format!("the generation {generation} is out of bounds");
            report.add(Finding::new(None, what).repair("it is set anew, above all epochs"));
        }
        Ok(())
    }

    /// Makes queues for tasks that have none, and names for queues that have none.
    pub(super) fn adopt(&self) -> rusqlite::Result<()> {
        for (queue, _) in self.nameless() {
            // Where somebody has that name already, this one is told of again.
            let sql = "UPDATE OR IGNORE queues SET name = ?2 WHERE queue = ?1";
            self.connection.execute(sql, (queue, recovered(queue)))?;
        }
        let orphans: Vec<i64> = self.list(ORPHANS, |row| row.get(0))?;
        for queue in orphans {
            let sql = "INSERT OR IGNORE INTO queues (queue, name, capacity, remember_ids_ms, revision, configured, closed, \
                highest_sequence, last_death, ready, ready_alone, scheduled, leased, dead, remembered) \
                VALUES (?1, ?2, ?3, ?4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)";
            let (capacity, remember) = (int(limits::CAPACITY), int(millis(limits::REMEMBER_IDS)));
            self.connection.execute(sql, (queue, recovered(queue), capacity, remember))?;
        }
        Ok(())
    }

    pub(super) fn mend_counters(&self) -> rusqlite::Result<()> {
        for Wrong { queue, column, wanted, .. } in self.wrong_numbers()? {
            let sql = format!("UPDATE queues SET {column} = ?2 WHERE queue = ?1");
            self.connection.execute(&sql, [queue, wanted])?;
        }
        Ok(())
    }

    /// What there is too much of. Changes what is counted.
    pub(super) fn mend_bounds(&self) -> rusqlite::Result<()> {
        for (queue, dead) in self.over_full()? {
            let sql = "DELETE FROM tasks WHERE task IN \
                (SELECT task FROM tasks NOT INDEXED WHERE state = 3 AND queue = ?1 ORDER BY death LIMIT ?2)";
            self.connection.execute(sql, [queue, dead - int(limits::MAX_DEAD)])?;
        }
        if self.lost_generation()?.is_some() {
            let sql = "UPDATE meta SET generation = max(?1, 1 + (SELECT coalesce(max(epoch), 0) FROM tasks) / 1048576)";
            self.connection.execute(sql, [int(self.now.wall / 1000)])?;
        }
        Ok(())
    }

    /// As after a restart of the machine: the epochs that come are higher than all that were given.
    pub(super) fn raise_generation(&self) -> rusqlite::Result<()> {
        let sql = "UPDATE meta SET generation = max(generation + 1, ?1)";
        self.connection.execute(sql, [int(self.now.wall / 1000)]).map(drop)
    }

    /// The options, counters and orders that are not what they must be.
    fn wrong_numbers(&self) -> rusqlite::Result<Vec<Wrong>> {
        let tasks = self.counted()?;
        let kept = self.count_kept()?;
        let counters = COUNTERS.map(|(column, _)| column).into_iter().chain(KEPT.map(|kept| kept.table));
        let orders = ORDERS.map(|order| order.counter);
        let columns: Vec<&str> =
            options().map(|(column, ..)| column).into_iter().chain(counters.clone()).chain(orders).collect();
        let sql = format!("SELECT queue, {} FROM queues NOT INDEXED", columns.join(", "));
        let mut wrong = Vec::new();
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let queue: i64 = row.get(0)?;
            let mut note = |column, wanted, what, repair: &str| {
                wrong.push(Wrong { queue, column, wanted, what, repair: repair.to_owned() });
            };
            for (column, least, most, default) in options() {
                let stored: i64 = row.get(column)?;
                if !(least..=most).contains(&stored) {
                    note(
                        column,
                        default,
                        format!("{column} is {stored}, which is out of bounds"),
                        "the default",
                    );
                }
            }
            let none = Counted::default();
            let counted = tasks.get(&queue).unwrap_or(&none);
            let found = counted.counts.into_iter().chain(kept.get(&queue).copied().unwrap_or_default());
            for (column, found) in counters.clone().zip(found) {
                let stored: i64 = row.get(column)?;
                if stored != found {
                    let what = format!("the counter {column} is {stored}, but there are {found}");
                    note(column, found, what, "it is counted again");
                }
            }
            for (counter, highest) in orders.into_iter().zip(counted.highest) {
                let stored: i64 = row.get(counter)?;
                if !(highest..=MOST).contains(&stored) {
                    let what = format!("the counter {counter} is {stored}, but {highest} was given");
                    note(counter, highest, what, "it is set to what was given");
                }
            }
        }
        Ok(wrong)
    }

    fn counted(&self) -> rusqlite::Result<HashMap<i64, Counted>> {
        let counts = COUNTERS.map(|(_, of)| format!("count(*) FILTER (WHERE {of})")).join(", ");
        let highest = ORDERS
            .each_ref()
            .map(|order| {
                let (column, of) = (order.column, order.of);
                format!("coalesce(max({column}) FILTER (WHERE {of} AND {column} BETWEEN 1 AND {MOST}), 0)")
            })
            .join(", ");
        let sql = format!("SELECT queue, {counts}, {highest} FROM tasks NOT INDEXED GROUP BY queue");
        let rows = self.list(&sql, |row| {
            let mut counted = Counted::default();
            for (at, count) in counted.counts.iter_mut().chain(&mut counted.highest).enumerate() {
                *count = row.get(at + 1)?;
            }
            Ok((row.get(0)?, counted))
        })?;
        let mut all: HashMap<i64, Counted> = rows.into_iter().collect();
        let shares = self.list(SHARES, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        for (queue, leased, count, highest) in shares {
            let (queue, leased, count, highest): (i64, bool, i64, i64) = (queue, leased, count, highest);
            let counted = all.entry(queue).or_default();
            for (total, (column, _)) in counted.counts.iter_mut().zip(COUNTERS) {
                if column == if leased { "leased" } else { "ready" }
                    || column == if leased { "shared" } else { "packed" }
                {
                    *total += count;
                }
            }
            counted.highest[0] = counted.highest[0].max(highest.min(MOST));
        }
        Ok(all)
    }

    /// Queues with more dead tasks than are kept, and how many they have.
    fn over_full(&self) -> rusqlite::Result<Vec<(i64, i64)>> {
        let sql = format!(
            "SELECT queue, count(*) FROM tasks NOT INDEXED WHERE state = 3 GROUP BY queue HAVING count(*) > {}",
            limits::MAX_DEAD
        );
        self.list(&sql, |row| Ok((row.get(0)?, row.get(1)?)))
    }

    fn nameless(&self) -> impl Iterator<Item = (i64, &str)> {
        let name = |(key, name): (&i64, &'_ String)| QueueName::new(name).is_err().then_some(*key);
        self.names.iter().filter_map(name).filter_map(|key| Some((key, self.name(key)?)))
    }

    /// The generation, if no epoch could be made of it.
    fn lost_generation(&self) -> rusqlite::Result<Option<i64>> {
        let generation: i64 =
            self.connection.query_row("SELECT generation FROM meta", [], |row| row.get(0))?;
        let most = uint(MOST) >> 20;
        Ok((!(0..=int(most)).contains(&generation)).then_some(generation))
    }
}

/// What the tasks of one queue say, in the order of [`COUNTERS`] and [`ORDERS`].
#[derive(Default)]
struct Counted {
    counts: [i64; COUNTERS.len()],
    highest: [i64; ORDERS.len()],
}

/// What a queue is called whose name is lost.
fn recovered(queue: i64) -> String {
    format!("recovered-{}", queue.unsigned_abs())
}

/// The keys of queues that have tasks and do not exist.
const ORPHANS: &str =
    "SELECT DISTINCT queue FROM tasks NOT INDEXED WHERE queue NOT IN (SELECT queue FROM queues)";
