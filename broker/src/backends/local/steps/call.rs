//! Enqueue calls that are repeated: what they were answered, one letter a task.

use rusqlite::types::FromSqlError;

use super::Steps;
use crate::{
    Enqueued, NewTask, Result, TaskId, Token,
    backends::local::{
        error::sqlite,
        keys::{holder, int},
        statements,
    },
    clock::millis,
    crash::{Point, at},
    limits,
    machine::repeated,
};

impl Steps<'_, '_> {
    /// As `Machine::answered`.
    pub(in super::super) fn answered(
        &self,
        token: Option<Token>,
        tasks: &[NewTask],
    ) -> Result<Option<Vec<Enqueued>>> {
        let Some(Token { incarnation, sequence }) = token else { return Ok(None) };
        let params = (holder(incarnation), int(sequence), int(self.now.wall));
        let answers = self.find(statements::ANSWERS, params, |row| {
            let text = row.get_ref(0)?.as_str()?;
            Ok(read(text).ok_or(FromSqlError::InvalidType)?)
        });
        answers.map_err(|e| sqlite("enqueue", e))?.map(|answers| repeated(answers, tasks)).transpose()
    }

    /// Keeps the answer of a call, and forgets a bounded number of those whose time is over, and those of the incarnation
    /// that are too many.
    pub(super) fn keep_answers(&self, token: Token, answers: &[Enqueued]) -> rusqlite::Result<()> {
        let (now, incarnation) = (self.now.wall, holder(token.incarnation));
        let until = int(now.saturating_add(millis(limits::KEEP_CALLS)));
        let params = (incarnation, int(token.sequence), until, text(answers));
        self.execute(statements::KEEP_ANSWERS, params)?;
        at(Point::StepCallKept);
        self.execute(statements::DROP_PAST_ANSWERS, (int(now), int(limits::UPKEEP as u64)))?;
        self.execute(statements::DROP_FIRST_ANSWERS, (incarnation, int(limits::MAX_CALLS as u64)))?;
        Ok(())
    }
}

/// Answers as they are stored.
fn text(answers: &[Enqueued]) -> String {
    let mut text = String::with_capacity(answers.len());
    for answer in answers {
        match answer {
            Enqueued::Enqueued => text.push('e'),
            Enqueued::Exists => text.push('x'),
            // No id has a space.
            Enqueued::Duplicate(id) => {
                text.push('d');
                text.push_str(&id.to_string());
                text.push(' ');
            }
            Enqueued::Full => text.push('f'),
            Enqueued::Closed => text.push('c'),
        }
    }
    text
}

/// Answers that were stored; `None` when they are none.
pub(in super::super) fn read(text: &str) -> Option<Vec<Enqueued>> {
    let (mut answers, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        answers.push(match letter {
            'e' => Enqueued::Enqueued,
            'x' => Enqueued::Exists,
            'd' => {
                let (id, after) = rest.split_once(' ')?;
                rest = after;
                Enqueued::Duplicate(TaskId::new(id).ok()?)
            }
            'f' => Enqueued::Full,
            'c' => Enqueued::Closed,
            _ => return None,
        });
    }
    Some(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_they_were_written() {
        let [given, made] = [TaskId::new("e/1").unwrap(), TaskId::generate()];
        let answers = [
            Enqueued::Enqueued,
            Enqueued::Duplicate(given),
            Enqueued::Exists,
            Enqueued::Full,
            Enqueued::Duplicate(made),
            Enqueued::Closed,
        ];
        assert_eq!(read(&text(&answers)).unwrap(), answers);
        assert_eq!((text(&answers[..1]), read("")), ("e".to_owned(), Some(Vec::new())));
        for none in ["q", "d1", "d ", "eé", "d1 2"] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
