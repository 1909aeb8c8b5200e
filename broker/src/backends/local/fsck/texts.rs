//! Texts of single rows of `tasks`, which the rules in SQL cannot judge.

use rusqlite::{
    Row, ToSql,
    types::{ToSqlOutput, Value},
};

use super::{Books, lossy, tasks::BECOMES_DEAD};
use crate::{
    TaskId,
    backends::local::keys::{
        IdKey, StoredBatch, StoredHistory, StoredId, StoredKey, StoredLimit, StoredName, int,
    },
    fsck::Report,
};

/// The key of a row, its queue, its id, and what of it cannot be read.
const ROWS: &str = "SELECT task, queue, id, name, payload, error, unique_key, limit_key, batch, history, progress, state \
    FROM tasks NOT INDEXED WHERE state <> 3 OR unique_key IS NOT NULL OR limit_key IS NOT NULL OR batch IS NOT NULL \
    OR history IS NOT NULL";

/// A text of a row.
#[derive(Clone, Copy)]
enum Text {
    Id,
    Name,
    Payload,
    Error,
    /// The payload again, where it is text.
    Json,
    UniqueKey,
    LimitKey,
    Batch,
    History,
    Progress,
}

impl Text {
    fn wrong(self) -> &'static str {
        match self {
            Self::Id => "its id is none",
            Self::Name => "its name is none",
            Self::Payload => "its payload is no text",
            Self::Error => "its error is no text",
            Self::Json => "its payload is not JSON: the handler will not get it",
            Self::UniqueKey => "its unique key is none",
            Self::LimitKey => "its key is none",
            Self::Batch => "its batch has a name that is none",
            Self::History => "its history is none",
            Self::Progress => "its progress is no JSON",
        }
    }

    /// What a repair does, and how, in SQL; `None` where nothing is to be done.
    fn mend(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Json => None,
            Self::Id | Self::Name | Self::Payload => Some(("it becomes dead, and is kept", BECOMES_DEAD)),
            Self::Error => Some(("the text is removed", "error = NULL")),
            Self::UniqueKey => Some(("it goes on without a key", "unique_key = NULL, unique_hold_ms = NULL")),
            Self::LimitKey => Some((
                "it goes on without a key",
                "limit_key = NULL, returned = 0, state = iif(state = 4, 0, state)",
            )),
            Self::Batch => Some((
                "it goes on without a batch",
                "batch = NULL, unique_hold_ms = iif(unique_hold_ms = -1, 0, unique_hold_ms)",
            )),
            Self::History => Some(("the history is removed", "history = NULL")),
            Self::Progress => Some(("the progress is removed", "progress = NULL")),
        }
    }
}

impl Books<'_> {
    /// One that cannot be read stops every claim that meets it; but a payload that is text and no JSON stops nobody: a worker
    /// buries its task.
    pub(super) fn look_at_texts(&self, report: &mut Report) -> rusqlite::Result<()> {
        self.each_unreadable(|_, queue, id, text| {
            let finding = self.about(queue, id, text.wrong());
            report.add(match text.mend() {
                Some((repair, _)) => finding.repair(repair),
                None => finding,
            });
        })
    }

    pub(super) fn mend_texts(&self) -> rusqlite::Result<()> {
        let mut wrong = Vec::new();
        self.each_unreadable(|task, _, _, text| wrong.push((task, text)))?;
        for (task, text) in wrong {
            let Some((_, mend)) = text.mend() else { continue };
            let died =
                if mend == BECOMES_DEAD { format!(", died = {}", int(self.now.wall)) } else { String::new() };
            self.connection.execute(&format!("UPDATE tasks SET {mend}{died} WHERE task = ?1"), [task])?;
        }
        Ok(())
    }

    /// Tells of every text that cannot be read: the key of its task, the queue, the id, and which it is.
    fn each_unreadable(&self, mut tell: impl FnMut(i64, i64, &Value, Text)) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare(ROWS)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (task, queue, id) = (row.get(0)?, row.get(1)?, lossy(row.get_ref(2)?));
            let dead = row.get::<_, i64>(11)? == 3;
            let main = if dead { None } else { main(row)? };
            main.into_iter().chain(further(row)?).for_each(|text| tell(task, queue, &id, text));
        }
        Ok(())
    }
}

/// The first that cannot be read of what every task has.
fn main(row: &Row<'_>) -> rusqlite::Result<Option<Text>> {
    Ok(if !row.get::<_, StoredId>(2).is_ok_and(|id| is_stored_as(&id.0, row)) {
        Some(Text::Id)
    } else if row.get::<_, StoredName>(3).is_err() {
        Some(Text::Name)
    } else if row.get_ref(4)?.as_str().is_err() {
        Some(Text::Payload)
    } else if row.get_ref(5)?.as_str_or_null().is_err() {
        Some(Text::Error)
    } else if !row.get_ref(4)?.as_str().is_ok_and(is_json) {
        Some(Text::Json)
    } else {
        None
    })
}

/// All that cannot be read of what a task may have.
fn further(row: &Row<'_>) -> rusqlite::Result<impl Iterator<Item = Text>> {
    let progress = row.get_ref(10)?.as_str_or_null();
    let wrong = [
        (row.get::<_, Option<StoredKey>>(6).is_err(), Text::UniqueKey),
        (row.get::<_, Option<StoredLimit>>(7).is_err(), Text::LimitKey),
        (row.get::<_, Option<StoredBatch>>(8).is_err(), Text::Batch),
        (row.get::<_, StoredHistory>(9).is_err(), Text::History),
        (!progress.is_ok_and(|text| text.is_none_or(is_json)), Text::Progress),
    ];
    Ok(wrong.into_iter().filter(|(wrong, _)| *wrong).map(|(_, text)| text))
}

/// Whether an id stands where it is looked for: one that is a UUID is not found as text.
fn is_stored_as(id: &TaskId, row: &Row<'_>) -> bool {
    let Ok(stored) = row.get_ref(2) else { return false };
    matches!(IdKey(id).to_sql(), Ok(ToSqlOutput::Owned(key)) if key == lossy(stored))
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}
