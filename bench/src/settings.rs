//! What a figure was measured with. Two figures make a ratio only where the settings that matter are the same.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a power cut may take back of what was answered.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Durability {
    /// Nothing: every answer comes after a sync, `synchronous=FULL`.
    Full,
    /// The last answers; a killed process takes back nothing: `synchronous=NORMAL` with a write-ahead log.
    Normal,
    /// Nothing of what was put in, the last of what was taken out.
    FullInNormalOut,
    /// A server's own policy: it syncs by a timer, after minutes.
    ServersTimer,
    /// Nothing: a server syncs what was written before it answers.
    ServersLog,
    /// Nothing: a server confirms what its quorum queue has synced; what was taken out may be handed out again.
    ServersQuorum,
    /// Nothing is kept, or it is no matter of the figure.
    Nothing,
    /// Nothing of a server survives it: all is in its memory.
    ServersMemory,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Full => "synchronous=FULL",
            Self::Normal => "synchronous=NORMAL",
            Self::FullInNormalOut => "synchronous=FULL in, NORMAL out",
            Self::ServersTimer => "server's default, synced by a timer",
            Self::ServersLog => "server's append-only file, synced before it answers",
            Self::ServersQuorum => "a quorum queue, persistent and confirmed",
            Self::Nothing => "whatever is kept",
            Self::ServersMemory => "in the server's memory, nothing on the disk",
        })
    }
}

/// What a figure was measured with.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Settings {
    /// Who was measured.
    pub(crate) who: String,
    /// Bytes of one payload.
    pub(crate) payload: usize,
    /// The most tasks of one call or transaction.
    pub(crate) batch: usize,
    /// What an answer is worth.
    pub(crate) durability: Durability,
    /// How the file is kept whole.
    pub(crate) journal: String,
    /// How many tasks, messages or calls.
    pub(crate) n: u64,
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, payload, batch, durability, journal, n } = self;
        write!(f, "{who}: payload {payload} bytes, batch {batch}, {durability}, journal {journal}, n {n}")
    }
}

/// Two figures were measured with different settings, so their ratio would say nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Differs {
    setting: &'static str,
    ours: String,
    theirs: String,
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, ours, theirs } = self;
        write!(f, "no ratio: the {setting} differs, {ours} here and {theirs} there")
    }
}

impl std::error::Error for Differs {}

/// Which differences are known and do not flatter us.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Despite {
    /// None: all that matters must be the same.
    #[default]
    Nothing,
    /// We sync before the answer and they do not: a ratio says less than is true.
    OursIsMoreDurable,
}

impl Settings {
    /// Refuses a ratio of two figures that were measured differently.
    ///
    /// # Errors
    /// [`Differs`], with the first setting that does.
    pub(crate) fn comparable(&self, theirs: &Self, despite: Despite) -> Result<(), Differs> {
        let differs = |setting, ours: String, theirs: String| Err(Differs { setting, ours, theirs });
        if self.payload != theirs.payload {
            return differs(
                "payload",
                format!("{} bytes", self.payload),
                format!("{} bytes", theirs.payload),
            );
        }
        if self.batch != theirs.batch {
            return differs("batch", self.batch.to_string(), theirs.batch.to_string());
        }
        let known = despite == Despite::OursIsMoreDurable
            && theirs.durability == Durability::ServersTimer
            && self.durability != Durability::ServersTimer;
        if self.durability != theirs.durability && !known {
            return differs("durability", self.durability.to_string(), theirs.durability.to_string());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(payload: usize, batch: usize, durability: Durability) -> Settings {
        Settings { who: "x".into(), payload, batch, durability, journal: "wal".into(), n: 1 }
    }

    #[test]
    fn a_ratio_of_different_things_is_refused_and_the_difference_named() {
        let ours = settings(150, 100, Durability::Full);
        assert_eq!(ours.comparable(&Settings { n: 9, ..ours.clone() }, Despite::Nothing), Ok(()));
        for (theirs, named) in [
            (settings(100, 100, Durability::Full), "payload differs, 150 bytes here and 100 bytes there"),
            (settings(150, 500, Durability::Full), "batch differs, 100 here and 500 there"),
            (settings(150, 100, Durability::Normal), "durability differs, synchronous=FULL here"),
            (settings(150, 100, Durability::ServersTimer), "durability differs"),
        ] {
            let refused = ours.comparable(&theirs, Despite::Nothing).unwrap_err().to_string();
            assert!(refused.contains(named), "{refused}");
        }
    }

    #[test]
    fn only_a_difference_that_does_not_flatter_us_is_let_through() {
        let timer = settings(150, 100, Durability::ServersTimer);
        let full = settings(150, 100, Durability::Full);
        assert_eq!(full.comparable(&timer, Despite::OursIsMoreDurable), Ok(()));
        assert!(timer.comparable(&full, Despite::OursIsMoreDurable).is_err());
        let normal = settings(150, 100, Durability::Normal);
        assert!(normal.comparable(&full, Despite::OursIsMoreDurable).is_err());
        assert!(full.comparable(&normal, Despite::OursIsMoreDurable).is_err());
    }
}
