//! Single rows of `tasks`: each state has exactly the columns that it needs, and all can be read.

use rusqlite::types::Value;

use super::{Books, MOST, lossy};
use crate::{
    TaskId,
    backends::local::keys::{IdKey, StoredId, StoredName, int, uint},
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

/// The assignments that make a row a ready task, whatever it was. Nobody is charged.
const BECOMES_READY: &str = "state = 0, due = NULL, leased_by = NULL, leased_until = NULL, death = NULL, died = NULL, \
    alone = 0, must_alone = deaths >= 2";

/// The assignments that make a row a dead task; its order is given by `orders`.
const BECOMES_DEAD: &str = "state = 3, due = NULL, leased_by = NULL, leased_until = NULL, death = NULL, alone = 0, \
    must_alone = 0, error = 'its id, name or payload cannot be read'";

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
            "state IN (0, 1) AND cancelled <> 0",
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
            "state IN (0, 1, 2) AND died IS NOT NULL",
            "it is not dead, but has a time of its death",
            "the time is removed",
            "died = NULL",
        ),
        Rule::new(
            "expires IS NOT NULL AND (state = 2 OR state IN (0, 1) AND epoch > 0)",
            "it expires, but was claimed",
            "it does not expire",
            "expires = NULL",
        ),
        Rule::new(
            "unique_key IS NOT NULL AND (unique_hold_ms IS NULL OR unique_hold_ms < 0)",
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
            Rule::new("state NOT BETWEEN 0 AND 3", "its state is none", is_ready, BECOMES_READY),
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
                "state IN (0, 2, 3) AND due IS NOT NULL",
                "it is not scheduled, but has a time to become ready",
                "the time is removed",
                "due = NULL",
            ),
            Rule::new(
                "state IN (0, 1, 3) AND (leased_by IS NOT NULL OR leased_until IS NOT NULL)",
                "it is not leased, but has a holder",
                "the holder is removed",
                "leased_by = NULL, leased_until = NULL",
            ),
            Rule::new(
                "state IN (0, 1, 2) AND death IS NOT NULL",
                "it is not dead, but has an order of death",
                "the order is removed",
                "death = NULL",
            ),
            Rule::new(
                "state IN (0, 1, 3) AND alone <> 0",
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
                "state = 1 AND deaths <> 0",
                "it is scheduled, which ends a row of deaths, but has one",
                "the row is cleared",
                "deaths = 0",
            ),
            Rule::new(
                "state IN (0, 2) AND must_alone <> (deaths >= 2)",
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

    /// The texts of what can still be claimed. One that cannot be read stops every claim that meets it; but a payload that is text and
    /// no JSON stops nobody: a worker buries its task.
    pub(super) fn look_at_texts(&self, report: &mut Report) -> rusqlite::Result<()> {
        self.each_unreadable(|_, queue, id, text| {
            let finding = self.about(queue, id, text.wrong());
            report.add(match text {
                Text::Json => finding,
                Text::Error => finding.repair("the text is removed"),
                Text::Id | Text::Name | Text::Payload => finding.repair("it becomes dead, and is kept"),
            });
        })
    }

    pub(super) fn mend_texts(&self) -> rusqlite::Result<()> {
        let mut wrong = Vec::new();
        self.each_unreadable(|task, _, _, text| wrong.push((task, text)))?;
        for (task, text) in wrong {
            let mend = match text {
                Text::Json => continue,
                Text::Error => "error = NULL".to_owned(),
                Text::Id | Text::Name | Text::Payload => {
                    format!("{BECOMES_DEAD}, died = {}", int(self.now.wall))
                }
            };
            self.connection.execute(&format!("UPDATE tasks SET {mend} WHERE task = ?1"), [task])?;
        }
        Ok(())
    }

    /// Tells of every text that cannot be read: the key of its task, the queue, the id, and which it is.
    fn each_unreadable(&self, mut tell: impl FnMut(i64, i64, &Value, Text)) -> rusqlite::Result<()> {
        let sql = "SELECT task, queue, id, name, payload, error FROM tasks NOT INDEXED WHERE state <> 3";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let text = if !row.get::<_, StoredId>(2).is_ok_and(|id| is_stored_as(&id.0, row)) {
                Text::Id
            } else if row.get::<_, StoredName>(3).is_err() {
                Text::Name
            } else if row.get_ref(4)?.as_str().is_err() {
                Text::Payload
            } else if row.get_ref(5)?.as_str_or_null().is_err() {
                Text::Error
            } else if !row.get_ref(4)?.as_str().is_ok_and(is_json) {
                Text::Json
            } else {
                continue;
            };
            tell(row.get(0)?, row.get(1)?, &lossy(row.get_ref(2)?), text);
        }
        Ok(())
    }
}

/// A text of a row.
#[derive(Clone, Copy)]
enum Text {
    Id,
    Name,
    Payload,
    Error,
    /// The payload again, where it is text.
    Json,
}

impl Text {
    fn wrong(self) -> &'static str {
        match self {
            Self::Id => "its id is none",
            Self::Name => "its name is none",
            Self::Payload => "its payload is no text",
            Self::Error => "its error is no text",
            Self::Json => "its payload is not JSON: the handler will not get it",
        }
    }
}

/// Whether an id stands where it is looked for: one that is a UUID is not found as text.
fn is_stored_as(id: &TaskId, row: &rusqlite::Row<'_>) -> bool {
    use rusqlite::{ToSql, types::ToSqlOutput};
    let Ok(stored) = row.get_ref(2) else { return false };
    matches!(IdKey(id).to_sql(), Ok(ToSqlOutput::Owned(key)) if key == lossy(stored))
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}
