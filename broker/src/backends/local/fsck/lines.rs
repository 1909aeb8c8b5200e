//! The lines of keys: who has a permit is counted as the tasks say, and nobody waits for one that is free.

use std::collections::BTreeMap;

use super::{Books, lossy, shown};
use crate::{
    backends::local::keys::{StoredLimit, int},
    clock::millis,
    fsck::{Finding, Report},
    limits,
};

/// A row of `lines`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Line {
    ready: i64,
    leased: i64,
    not_before: i64,
}

/// The tasks of a key, counted, and the options of their queue.
#[derive(Clone, Copy, Default)]
struct Counted {
    ready: i64,
    leased: i64,
    held: i64,
    /// 0: none.
    limit: i64,
    interval: i64,
}

impl Counted {
    /// Whether one that waits would get a permit at once, as `Queue::admit` gives them, where no interval goes on.
    fn lets_in(&self) -> bool {
        let in_time = self.interval <= 0 || self.ready == 0;
        self.held > 0 && in_time && (self.limit <= 0 || self.ready + self.leased < self.limit)
    }
}

/// The lines as they are to be, and what is wrong with those that are.
#[derive(Default)]
struct Lines {
    wanted: BTreeMap<(i64, String), Line>,
    wrong: Vec<(i64, String, &'static str)>,
}

const COUNTED: &str = "SELECT tasks.queue, limit_key, count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE state = 2), \
    count(*) FILTER (WHERE state = 4), key_limit, key_interval_ms FROM tasks NOT INDEXED \
    JOIN queues ON queues.queue = tasks.queue WHERE limit_key IS NOT NULL GROUP BY tasks.queue, limit_key";

impl Books<'_> {
    pub(super) fn look_at_lines(&self, report: &mut Report) -> rusqlite::Result<()> {
        for (queue, what, repair) in self.lines()?.wrong {
            report.add(Finding::new(self.name(queue), what).repair(repair));
        }
        Ok(())
    }

    /// Writes all of them anew, where one is wrong. After the tasks. Whoever waits for a permit that is free gets it from the
    /// next claim, as if an interval were over.
    pub(super) fn mend_lines(&self) -> rusqlite::Result<()> {
        let lines = self.lines()?;
        if lines.wrong.is_empty() {
            return Ok(());
        }
        self.connection.execute("DELETE FROM lines", [])?;
        let sql =
            "INSERT INTO lines (queue, limit_key, ready, leased, not_before) VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut add = self.connection.prepare(sql)?;
        for ((queue, key), Line { ready, leased, not_before }) in lines.wanted {
            add.execute((queue, key, ready, leased, not_before))?;
        }
        Ok(())
    }

    fn lines(&self) -> rusqlite::Result<Lines> {
        let mut lines = Lines::default();
        let mut stored = self.stored_lines(&mut lines)?;
        let latest = int(self.now.wall.saturating_add(millis(limits::MAX_KEY_INTERVAL)));
        let mut note = |queue, key: String, counted: Counted, stored: Option<Line>| {
            let line = stored.unwrap_or_default();
            let mut wanted = Line { ready: counted.ready, leased: counted.leased, ..line };
            if (line.ready, line.leased) != (wanted.ready, wanted.leased) {
                let Line { ready, leased, .. } = line;
                let what = format!(
                    "key {key} has {ready} ready and {leased} leased, but there are {} and {}",
                    wanted.ready, wanted.leased
                );
                lines.wrong.push((queue, what, "they are counted again"));
            } else if line == Line::default() && stored.is_some() {
                lines.wrong.push((queue, format!("key {key} has a line, but no task"), "it is removed"));
            }
            if !(0..=latest).contains(&line.not_before) {
                let what = format!("the interval of key {key} ends at no time that it can");
                lines.wrong.push((queue, what, "it is over"));
                wanted.not_before = 1;
            } else if line.not_before == 0 && counted.lets_in() {
                let what = format!("tasks wait for key {key}, which is free");
                lines.wrong.push((queue, what, "the next claim lets them go"));
                wanted.not_before = 1;
            }
            if wanted != Line::default() {
                lines.wanted.insert((queue, key), wanted);
            }
        };
        let counted = self.list(COUNTED, |row| {
            let Ok(StoredLimit(key)) = row.get(1) else { return Ok(None) };
            let [ready, leased, held] = [row.get(2)?, row.get(3)?, row.get(4)?];
            let counted = Counted { ready, leased, held, limit: row.get(5)?, interval: row.get(6)? };
            Ok(Some((row.get(0)?, key.as_str().to_owned(), counted)))
        })?;
        for (queue, key, counted) in counted.into_iter().flatten() {
            let line = stored.remove(&(queue, key.clone()));
            note(queue, key, counted, line);
        }
        for ((queue, key), line) in stored {
            note(queue, key, Counted::default(), Some(line));
        }
        Ok(lines)
    }

    /// Those of queues and keys that there can be; the others are wrong.
    fn stored_lines(&self, lines: &mut Lines) -> rusqlite::Result<BTreeMap<(i64, String), Line>> {
        let mut stored = BTreeMap::new();
        let sql = "SELECT queue, limit_key, ready, leased, not_before FROM lines";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (queue, line) =
                (row.get(0)?, Line { ready: row.get(2)?, leased: row.get(3)?, not_before: row.get(4)? });
            match row.get::<_, StoredLimit>(1) {
                Ok(StoredLimit(key)) if self.names.contains_key(&queue) => {
                    stored.insert((queue, key.as_str().to_owned()), line);
                }
                _ => {
                    let what = format!("there is a line of no key: {}", shown(&lossy(row.get_ref(1)?)));
                    lines.wrong.push((queue, what, "it is removed"));
                }
            }
        }
        Ok(stored)
    }
}
