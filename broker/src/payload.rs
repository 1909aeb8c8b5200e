//! The JSON text that a task carries.

use std::{fmt, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{Error, Result};

/// A JSON text, kept byte for byte as it was given and never re-encoded. Cloning shares it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Payload(Arc<str>);

impl Payload {
    /// Takes a text that must be one JSON value; white space around it is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when it is not JSON, with the position.
    pub fn from_json(text: &str) -> Result<Self> {
        let raw: &RawValue = serde_json::from_str(text)
            .map_err(|e| Error::invalid("payload", "the payload is not JSON").because(e))?;
        Ok(Self(raw.get().into()))
    }

    /// Takes a text that a broker stored, which was checked when it was enqueued.
    #[must_use]
    pub fn from_stored(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text `null`.
    #[must_use]
    pub fn null() -> Self {
        Self("null".into())
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when the value cannot be written as JSON.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        serde_json::to_string(value)
            .map(|text| Self(text.into()))
            .map_err(|e| Error::invalid("payload", "the payload cannot be written as JSON").because(e))
    }

    /// Reads the value.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when the JSON is not of this type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.0)
            .map_err(|e| Error::invalid("payload", "the payload is not what the handler expects").because(e))
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The length of the text in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the text is empty; a checked one never is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Default for Payload {
    /// The JSON value `null`.
    fn default() -> Self {
        Self("null".into())
    }
}

impl fmt::Debug for Payload {
    /// Shows the beginning only: payloads may be large, and logs should not be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = self.0.char_indices().nth(64).map_or(self.0.len(), |(at, _)| at);
        write!(f, "Payload({}{})", &self.0[..cut], if cut < self.0.len() { "…" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_kept_as_given() {
        let text = r#"{"b":1.50,  "a":"ü\u00fc", "b":2}"#;
        assert_eq!(Payload::from_json(&format!(" {text}\n")).unwrap().as_str(), text);
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for bad in ["", "{", "{} {}", "nul", "'a'"] {
            assert!(Payload::from_json(bad).is_err(), "{bad:?}");
        }
    }
}
