//! Names that people choose: of queues, tasks and namespaces. All are checked where they enter.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks a name.
            ///
            /// # Errors
            /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when it is empty, too long, begins with a
            /// dot or a dash, or has a character outside `[A-Za-z0-9._-]`.
            pub fn new(text: &str) -> Result<Self> {
                check($what, $max, text)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
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

        impl FromStr for $type {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                Self::new(&text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    };
}

name!(
    /// The name of a queue: 1 to 128 bytes of `[A-Za-z0-9._-]`, not beginning with a dot or a dash.
    QueueName, "queue name", 128
);
name!(
    /// The name of a kind of task, by which a worker finds the handler: as a queue's name.
    TaskName, "task name", 128
);
name!(
    /// The name of a set of queues that settle together: 1 to 64 bytes of `[A-Za-z0-9._-]`, not beginning
    /// with a dot or a dash. `mh` unless the URL says otherwise.
    Namespace, "namespace", 64
);

name!(
    /// The name of a batch of tasks: as a queue's name.
    BatchName, "batch name", 128
);

impl Default for Namespace {
    fn default() -> Self {
        Self("mh".into())
    }
}

fn check(what: &'static str, max: usize, text: &str) -> Result<()> {
    if text.is_empty() || text.len() > max {
        return Err(Error::invalid(what, format!("a {what} has 1 to {max} bytes, this one {}", text.len())));
    }
    if text.starts_with(['.', '-']) {
        return Err(Error::invalid(what, format!("{text:?}: a {what} may not begin with a dot or a dash")));
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-".contains(*c))) {
        Some(bad) => Err(Error::invalid(
            what,
            format!("{text:?}: a {what} may not contain {bad:?}; allowed: A-Z a-z 0-9 . _ -"),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert_eq!(QueueName::new("images.v2").unwrap().as_str(), "images.v2");
        for bad in ["", "a b", "a:3", "a,b", "../x", ".hidden", "-x", "é", "a/b", &"x".repeat(129)] {
            assert!(QueueName::new(bad).is_err(), "{bad:?}");
        }
        assert!(Namespace::new(&"x".repeat(65)).is_err());
    }
}
