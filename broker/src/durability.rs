//! What a task that was sent survives on one box.

use std::{fmt, str::FromStr};

use crate::Error;

/// What survives of a call that was answered, in the directory of a local broker. A property of the directory: it is chosen by
/// whoever makes it, and all processes keep to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// All of it, whatever happens to the machine's power: what callers rely on is answered after it was synced.
    #[default]
    Power,
    /// All of it, whatever process is killed. A power cut, or a crash of the kernel, may lose the calls of the last seconds, the
    /// last ones first.
    Process,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Power => "power",
            Self::Process => "process",
        })
    }
}

impl FromStr for Durability {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "power" => Ok(Self::Power),
            "process" => Ok(Self::Process),
            _ => Err(Error::invalid("durability", format!("{text:?} is no durability: power, process"))),
        }
    }
}
