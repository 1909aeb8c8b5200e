//! Keys that users choose: texts that tasks have in common.

use std::{fmt, sync::Arc};

use crate::{Error, Result};

/// The longest key, in bytes.
const MAX_KEY: usize = 1024;

macro_rules! key {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks a key.
            ///
            /// # Errors
            /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when it is empty, longer than 1024 bytes, or has a control
            /// character.
            pub fn new(text: &str) -> Result<Self> {
                check($what, text)?;
                Ok(Self(text.into()))
            }

            /// The key as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

key!(
    /// What at most one task of a queue has at a time: 1 to 1024 bytes without control characters. Longer ones are for the
    /// user to hash.
    UniqueKey, "unique key"
);
key!(
    /// What the tasks have in common of which only so many run at a time, such as a host: as a unique key.
    LimitKey, "key"
);

fn check(what: &'static str, text: &str) -> Result<()> {
    if text.is_empty() || text.len() > MAX_KEY {
        let message = format!("a {what} has 1 to {MAX_KEY} bytes, this one {}", text.len());
        let error = Error::invalid(what, message);
        return Err(if text.is_empty() { error } else { error.advise("send a hash of what is longer") });
    }
    match text.chars().find(|c| c.is_control()) {
        Some(bad) => Err(Error::invalid(what, format!("a {what} may not contain {bad:?}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked() {
        let url = "https://example.org/?q=ä b";
        assert_eq!(UniqueKey::new(url).unwrap().as_str(), url);
        assert_eq!(LimitKey::new("example.org").unwrap().to_string(), "example.org");
        for bad in ["", "a\nb", "\0", &"x".repeat(1025)] {
            assert!(UniqueKey::new(bad).is_err() && LimitKey::new(bad).is_err(), "{bad:?}");
        }
    }
}
