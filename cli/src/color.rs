//! Whether there is colour.

use std::ffi::OsStr;

use clap::ValueEnum;

/// What `--color` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set and not empty.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

impl Color {
    /// Whether to use colour on a stream that is a terminal, or is none.
    #[must_use]
    pub fn wanted(self, terminal: bool) -> bool {
        self.decided(terminal, std::env::var_os("NO_COLOR").as_deref())
    }

    fn decided(self, terminal: bool, no_color: Option<&OsStr>) -> bool {
        match self {
            Self::Auto => terminal && no_color.is_none_or(OsStr::is_empty),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_goes_before_the_environment() {
        let no = Some(OsStr::new("1"));
        let auto = [(true, None), (true, Some(OsStr::new(""))), (true, no), (false, None)];
        let decided = auto.map(|(terminal, no_color)| Color::Auto.decided(terminal, no_color));
        assert_eq!(decided, [true, true, false, false]);
        assert!(Color::Always.decided(false, no) && !Color::Never.decided(true, None));
    }
}
