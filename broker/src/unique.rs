//! What at most one task of a queue has at a time, and for how long.

use std::time::Duration;

use crate::{Result, UniqueKey};

/// A key, and for how long it is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unique {
    /// The key.
    pub key: UniqueKey,
    /// For how long after its task was settled.
    pub hold: Hold,
}

/// For how long a unique key is held after its task was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// For so long: 0 for not at all, more for a set of what was seen.
    For(Duration),
    /// Until the batch of its task has ended.
    Batch,
}

impl Unique {
    /// A key that is held until its task is settled: completed, cancelled or dead.
    ///
    /// # Errors
    /// As [`UniqueKey::new`].
    pub fn until_settled(key: &str) -> Result<Self> {
        Self::and_for(key, Duration::ZERO)
    }

    /// A key that is held until so long after its task was settled. So 'seen' and 'enqueued' are one step.
    ///
    /// # Errors
    /// As [`UniqueKey::new`].
    pub fn and_for(key: &str, hold: Duration) -> Result<Self> {
        Ok(Self { key: UniqueKey::new(key)?, hold: Hold::For(hold) })
    }

    /// A key that is held until the batch of its task has ended: a set of what the batch has seen. A task with such a key is
    /// [in a batch](crate::NewTask::in_batch).
    ///
    /// # Errors
    /// As [`UniqueKey::new`].
    pub fn in_batch(key: &str) -> Result<Self> {
        Ok(Self { key: UniqueKey::new(key)?, hold: Hold::Batch })
    }
}
