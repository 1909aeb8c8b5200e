//! Identities: of a task, and of one start of a process.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Error, Result};

/// The id of a task, unique within its queue.
///
/// A UUIDv7 unless the user gives one of their own: 1 to 128 bytes of `[A-Za-z0-9._:/-]`. A text that is
/// a UUID in its usual lower-case form *is* that UUID, so that an id read from a log finds its task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId(Repr);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Uuid(Uuid),
    Text(Box<str>),
}

impl TaskId {
    /// Makes a new id; later ones sort after earlier ones.
    #[must_use]
    pub fn generate() -> Self {
        Self(Repr::Uuid(Uuid::now_v7()))
    }

    /// Checks an id that the user gives.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when it is empty, longer than 128 bytes, or has a
    /// character outside `[A-Za-z0-9._:/-]`.
    pub fn new(text: &str) -> Result<Self> {
        if text.is_empty() || text.len() > 128 {
            return Err(Error::invalid(
                "id",
                format!("a task id has 1 to 128 bytes, this one {}", text.len()),
            ));
        }
        if let Some(bad) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "._:/-".contains(*c))) {
            return Err(Error::invalid(
                "id",
                format!("a task id may not contain {bad:?}; allowed: A-Z a-z 0-9 . _ : / -"),
            ));
        }
        let canonical = text.len() == 36 && !text.bytes().any(|b| b.is_ascii_uppercase());
        match Uuid::try_parse(text) {
            Ok(uuid) if canonical => Ok(Self(Repr::Uuid(uuid))),
            _ => Ok(Self(Repr::Text(text.into()))),
        }
    }

    /// The UUID, where the id is one: stored in 16 bytes instead of 36.
    #[must_use]
    pub fn as_uuid(&self) -> Option<Uuid> {
        match &self.0 {
            Repr::Uuid(uuid) => Some(*uuid),
            Repr::Text(_) => None,
        }
    }
}

impl From<Uuid> for TaskId {
    fn from(uuid: Uuid) -> Self {
        Self(Repr::Uuid(uuid))
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Uuid(uuid) => uuid.hyphenated().fmt(f),
            Repr::Text(text) => f.write_str(text),
        }
    }
}

impl FromStr for TaskId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<String> for TaskId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::new(&text)
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.to_string()
    }
}

/// A random id of one process start. Names are labels; this is the identity that leases belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(Uuid);

impl Incarnation {
    /// Makes a new one. It is never configured and never reused.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::new_v4())
    }

    /// The 16 bytes.
    #[must_use]
    pub fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for Incarnation {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_in_its_usual_form_is_that_uuid() {
        let id = TaskId::generate();
        assert_eq!(TaskId::new(&id.to_string()).unwrap(), id);
        let upper = id.to_string().to_uppercase();
        assert_eq!(TaskId::new(&upper).unwrap().to_string(), upper, "another text is another id");
    }

    #[test]
    fn bad_ids_are_refused_with_the_reason() {
        for (bad, why) in [("", "1 to 128 bytes"), ("a b", "' '"), ("é", "'é'"), ("a\n", "'\\n'")] {
            let error = TaskId::new(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{bad:?}: {error}");
        }
        assert!(TaskId::new(&"x".repeat(129)).is_err());
        assert!(TaskId::new("host/1:page_2.html-3").is_ok());
    }
}
