//! Unique keys: what at most one task of a queue has at a time.

use std::{fmt, sync::Arc, time::Duration};

use crate::{Error, Result};

/// The longest key, in bytes.
const MAX_KEY: usize = 1024;

/// A key, and for how long it is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unique {
    /// The key.
    pub key: UniqueKey,
    /// For how long after its task was settled: 0 for not at all, more for a set of what was seen.
    pub hold: Duration,
}

impl Unique {
    /// A key that is held until its task is settled: completed, cancelled or dead.
    ///
    /// # Errors
    /// As [`UniqueKey::new`].
    pub fn until_settled(key: &str) -> Result<Self> {
        Ok(Self { key: UniqueKey::new(key)?, hold: Duration::ZERO })
    }

    /// A key that is held until so long after its task was settled. So 'seen' and 'enqueued' are one step.
    ///
    /// # Errors
    /// As [`UniqueKey::new`].
    pub fn and_for(key: &str, hold: Duration) -> Result<Self> {
        Ok(Self { key: UniqueKey::new(key)?, hold })
    }
}

/// The text of a unique key: 1 to 1024 bytes without control characters. Longer ones are for the user to hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UniqueKey(Arc<str>);

impl UniqueKey {
    /// Checks a key.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when it is empty, longer than 1024 bytes, or has a control character.
    pub fn new(text: &str) -> Result<Self> {
        if text.is_empty() || text.len() > MAX_KEY {
            let message = format!("a unique key has 1 to {MAX_KEY} bytes, this one {}", text.len());
            return Err(Error::invalid("unique", message).advise("send a hash of what is longer"));
        }
        if let Some(bad) = text.chars().find(|c| c.is_control()) {
            return Err(Error::invalid("unique", format!("a unique key may not contain {bad:?}")));
        }
        Ok(Self(text.into()))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UniqueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked() {
        assert_eq!(
            UniqueKey::new("https://example.org/?q=ä b").unwrap().as_str(),
            "https://example.org/?q=ä b"
        );
        for bad in ["", "a\nb", "\0", &"x".repeat(1025)] {
            assert!(UniqueKey::new(bad).is_err(), "{bad:?}");
        }
    }
}
