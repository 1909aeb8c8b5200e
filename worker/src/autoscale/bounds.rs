//! Between how many worker processes there may be.

use std::{fmt, str::FromStr};

/// The most worker processes of one supervisor.
pub const MAX_PROCESSES: usize = 512;

/// The fewest and the most worker processes: `1..4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    min: usize,
    max: usize,
}

impl Bounds {
    /// At least `min`, at most `max`.
    ///
    /// # Errors
    /// What is wrong with them: `min` is above `max`, or `max` is not from 1 to [`MAX_PROCESSES`].
    pub fn new(min: usize, max: usize) -> Result<Self, String> {
        if min > max {
            return Err(format!("the fewest, {min}, are more than the most, {max}"));
        }
        if !(1..=MAX_PROCESSES).contains(&max) {
            return Err(format!("the most are {max}, which is no number from 1 to {MAX_PROCESSES}"));
        }
        Ok(Self { min, max })
    }

    /// The fewest.
    #[must_use]
    pub fn min(self) -> usize {
        self.min
    }

    /// The most.
    #[must_use]
    pub fn max(self) -> usize {
        self.max
    }

    /// The number within these bounds that is nearest.
    #[must_use]
    pub fn clamp(self, number: usize) -> usize {
        number.clamp(self.min, self.max)
    }
}

/// `MIN..MAX`, both included, for a supervisor: at least 1.
impl FromStr for Bounds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let no_bounds = || {
            format!("{text:?} is no MIN..MAX: write two whole numbers from 1 to {MAX_PROCESSES}, as in 1..4")
        };
        let (min, max) = text.split_once("..").ok_or_else(no_bounds)?;
        let number = |text: &str| text.trim().parse().ok().filter(|number| *number > 0).ok_or_else(no_bounds);
        Self::new(number(min)?, number(max)?)
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_read_as_they_are_written() {
        for text in ["1..4", "2..2", "1..512"] {
            assert_eq!(text.parse::<Bounds>().unwrap().to_string(), text);
        }
        for bad in ["", "4", "0..4", "4..1", "1..513", "1...4", "1..", "-1..2", "a..b"] {
            assert!(bad.parse::<Bounds>().is_err(), "{bad}");
        }
    }
}
