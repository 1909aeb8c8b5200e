//! Single rows of `tasks`: each state has exactly the columns that it needs.

use rusqlite::types::Value;

use super::{Books, MOST, lossy};
use crate::{
    backends::local::keys::{int, uint},
    clock::millis,
    fsck::Report,
    limits,
};

/// What may be wrong with one row.
struct Rule {
    /// The condition, in SQL.
    wrong: String,
    what: &'static str,
    repair: &'static str,
    /// The assignments that mend it, in SQL.
    mend: String,
}

impl Rule {
    fn new(
        wrong: impl Into<String>,
        what: &'static str,
        repair: &'static str,
        mend: impl Into<String>,
    ) -> Self {
        Self { wrong: wrong.into(), what, repair, mend: mend.into() }
    }
}

/// The assignments that make a row a ready task, whatever it was, or one that waits for its key. Nobody is charged.
const BECOMES_READY: &str = "state = iif(limit_key IS NULL, 0, 4), due = NULL, leased_by = NULL, leased_until = NULL, \
    death = NULL, died = NULL, alone = 0, must_alone = deaths >= 2, returned = 0, progress = NULL";

/// The assignments that make a row a dead task; its order is given by `orders`.
pub(super) const BECOMES_DEAD: &str = "state = 3, due = NULL, leased_by = NULL, leased_until = NULL, death = NULL, alone = 0, \
    must_alone = 0, returned = 0, progress = NULL, error = 'its id, name or payload cannot be read'";

/// The columns that count something, each up to 2^32 - 1.
const COUNTS: [(&str, &str); 4] = [
    ("attempts", "attempts = max(0, min(attempts, 4294967295))"),
    ("crashes", "crashes = max(0, min(crashes, 4294967295))"),
    ("deaths", "deaths = max(0, min(deaths, 4294967295))"),
    ("parks", "parks = max(0, min(parks, 4294967295))"),
];

/// An epoch that cannot have been given. The same may have been given before, so the generation rises with its repair.
fn no_epoch() -> String {
    format!("epoch NOT BETWEEN 0 AND {MOST}")
}

/// The rules about what a task was given to be kept, and what somebody asked of it.
fn kept_rules(wall: u64) -> [Rule; 8] {
    let (now, an_hour) = (int(wall), millis(limits::KEEP_RESULT));
    [
        Rule::new(
            "state IN (0, 1, 4) AND cancelled <> 0",
            "it is to be cancelled, but nobody holds it",
            "it is not cancelled",
            "cancelled = 0",
        ),
        Rule::new(
            "state = 3 AND died IS NULL",
            "it is dead, but not since any time",
            "since now",
            format!("died = {now}"),
        ),
        Rule::new(
            "state IN (0, 1, 2, 4) AND died IS NOT NULL",
            "it is not dead, but has a time of its death",
            "the time is removed",
            "died = NULL",
        ),
        Rule::new(
            "expires IS NOT NULL AND (state = 2 OR state IN (0, 1, 4) AND epoch > 0)",
            "it expires, but was claimed",
            "it does not expire",
            "expires = NULL",
        ),
        Rule::new(
            "unique_key IS NOT NULL \
             AND (unique_hold_ms IS NULL OR unique_hold_ms < -1 OR unique_hold_ms = -1 AND batch IS NULL)",
            "its unique key is held for no time that is one",
            "it is held until the task ends",
            "unique_hold_ms = 0",
        ),
        Rule::new(
            "unique_key IS NULL AND unique_hold_ms IS NOT NULL",
            "it has no unique key, but a time to hold one",
            "the time is removed",
            "unique_hold_ms = NULL",
        ),
        Rule::new(
            "keep_result_ms < 0",
            "its result is kept for no time that is one",
            "it is kept for an hour",
            format!("keep_result_ms = {an_hour}"),
        ),
        Rule::new(
            format!("rank NOT BETWEEN -{MOST} AND {MOST}"),
            "its rank is out of bounds",
            "the nearest possible rank",
            format!("rank = max(-{MOST}, min(rank, {MOST}))"),
        ),
    ]
}

/// The rules about what waits for its key, and what its holder told.
fn line_rules() -> [Rule; 3] {
    [
        Rule::new(
            "state = 4 AND limit_key IS NULL",
            "it is held, but has no key",
            "it becomes ready, uncharged",
            BECOMES_READY,
        ),
        Rule::new(
            "returned NOT BETWEEN 0 AND (state = 4)",
            "it is marked as given back, but does not wait for its key",
            "the mark is removed",
            "returned = 0",
        ),
        Rule::new(
            "state IN (0, 1, 3, 4) AND progress IS NOT NULL",
            "it is not leased, but has a progress",
            "the progress is removed",
            "progress = NULL",
        ),
    ]
}

impl Books<'_> {
    /// Every rule. They are applied in order, so what a rule leaves is seen by those after it.
    fn rules(&self) -> Vec<Rule> {
        let latest = int(self.now.steady.saturating_add(millis(limits::MAX_LEASE)));
        let soon = int(self.now.steady.saturating_add(millis(limits::LEASE)));
        let mut rules: Vec<Rule> = COUNTS
            .map(|(column, mend)| {
                let wrong = format!("{column} NOT BETWEEN 0 AND 4294967295");
                Rule::new(wrong, "one of its counts is out of bounds", "the nearest possible count", mend)
            })
            .into();
        let is_ready = "it becomes ready, uncharged";
        rules.extend([
            Rule::new(
                "max_attempts NOT BETWEEN 1 AND 4294967295",
                "its limit of attempts is out of bounds",
                "the limit becomes 5",
                "max_attempts = 5",
            ),
            Rule::new(
                "max_crashes NOT BETWEEN 1 AND 4294967295",
                "its limit of crashes is out of bounds",
                "the limit becomes 3",
                "max_crashes = 3",
            ),
            Rule::new("state NOT BETWEEN 0 AND 4", "its state is none", is_ready, BECOMES_READY),
            Rule::new("state = 1 AND due IS NULL", "it is scheduled for no time", is_ready, BECOMES_READY),
            Rule::new(
                format!(
                    "state = 2 AND (leased_by IS NULL OR length(leased_by) <> 16 OR leased_until IS NULL \
                     OR epoch NOT BETWEEN 1 AND {MOST})"
                ),
                "it is leased, but nobody can hold it",
                is_ready,
                BECOMES_READY,
            ),
            Rule::new(
                format!("state = 2 AND leased_until > {latest}"),
                "its lease ends later than any can",
                "it ends in 30 s, unless its holder lives and beats",
                format!("leased_until = {soon}"),
            ),
            Rule::new(
                no_epoch(),
                "its epoch is out of bounds",
                "the next epoch is higher than all that were given",
                "epoch = 0",
            ),
            Rule::new(
                "state IN (0, 2, 3, 4) AND due IS NOT NULL",
                "it is not scheduled, but has a time to become ready",
                "the time is removed",
                "due = NULL",
            ),
            Rule::new(
                "state IN (0, 1, 3, 4) AND (leased_by IS NOT NULL OR leased_until IS NOT NULL)",
                "it is not leased, but has a holder",
                "the holder is removed",
                "leased_by = NULL, leased_until = NULL",
            ),
            Rule::new(
                "state IN (0, 1, 2, 4) AND death IS NOT NULL",
                "it is not dead, but has an order of death",
                "the order is removed",
                "death = NULL",
            ),
            Rule::new(
                "state IN (0, 1, 3, 4) AND alone <> 0",
                "it is not leased, but runs alone",
                "the mark is removed",
                "alone = 0",
            ),
            Rule::new(
                "state = 2 AND leased_by IS NOT NULL AND alone <> (deaths >= 2)",
                "whether it runs alone is not what the deaths of its holders say",
                "the deaths decide",
                "alone = deaths >= 2",
            ),
            Rule::new(
                // What crashed is put off, and runs alone when it is due.
                "state = 1 AND deaths <> 0 AND (deaths < 2 OR crashes = 0)",
                "it is scheduled, and has a row of deaths that no crash explains",
                "the row is cleared",
                "deaths = 0",
            ),
            Rule::new(
                "state IN (0, 2, 4) AND must_alone <> (deaths >= 2)",
                "whether it must run alone is not what the deaths of its holders say",
                "the deaths decide",
                "must_alone = deaths >= 2",
            ),
            Rule::new(
                "state IN (1, 3) AND must_alone <> 0",
                "it can not be claimed, but must run alone",
                "the mark is removed",
                "must_alone = 0",
            ),
        ]);
        rules.extend(line_rules());
        rules.extend(kept_rules(self.now.wall));
        rules
    }

    /// Each row by each rule, in one pass over the table.
    pub(super) fn look_at_tasks(&self, report: &mut Report) -> rusqlite::Result<()> {
        report.tasks = self
            .connection
            .query_row("SELECT count(*) FROM tasks NOT INDEXED", [], |row| row.get::<_, i64>(0))
            .map(uint)?;
        let rules = self.rules();
        let wrong: Vec<String> = rules.iter().map(|rule| format!("({})", rule.wrong)).collect();
        let sql = format!(
            "SELECT queue, id, {} FROM tasks NOT INDEXED WHERE {}",
            wrong.join(", "),
            wrong.join(" OR ")
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (queue, id): (i64, Value) = (row.get(0)?, lossy(row.get_ref(1)?));
            for (at, rule) in rules.iter().enumerate() {
                if row.get::<_, Option<bool>>(at + 2)? == Some(true) {
                    report.add(self.about(queue, &id, rule.what).repair(rule.repair));
                }
            }
        }
        Ok(())
    }

    pub(super) fn mend_tasks(&self) -> rusqlite::Result<()> {
        // Before the rule that makes them 0, so that it is known whether there are any.
        let lost = format!("SELECT 1 FROM tasks NOT INDEXED WHERE {}", no_epoch());
        if self.connection.prepare(&lost)?.exists([])? {
            self.raise_generation()?;
        }
        for rule in self.rules() {
            let sql = format!("UPDATE tasks NOT INDEXED SET {} WHERE {}", rule.mend, rule.wrong);
            self.connection.execute(&sql, [])?;
        }
        Ok(())
    }
}
