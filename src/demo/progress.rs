//! How far each stage is: bars on a terminal, plain lines elsewhere. On standard error.

use std::io::IsTerminal;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{
    board::Board,
    films::{FILMS, PAGE},
    role::RoleName,
};

/// The stages, with what they do and how often.
const STAGES: [(RoleName, &str, u32); 3] = [
    (RoleName::Fetcher, "fetched", FILMS / PAGE),
    (RoleName::Parser, "parsed", FILMS / PAGE),
    (RoleName::Saver, "saved", FILMS),
];

/// The display.
#[derive(Debug)]
pub(super) enum Progress {
    Bars(MultiProgress, Vec<ProgressBar>),
    /// The last line, so that none is written twice.
    Lines(String),
}

impl Progress {
    pub(super) fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines(String::new());
        }
        let all = MultiProgress::new();
        let style = ProgressStyle::with_template("{prefix:>8} {bar:40} {pos}/{len}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = |(_, what, total): &(RoleName, &'static str, u32)| {
            let bar = ProgressBar::new(u64::from(*total)).with_style(style.clone()).with_prefix(*what);
            all.add(bar)
        };
        let bars = STAGES.iter().map(bar).collect();
        Self::Bars(all, bars)
    }

    /// Shows how far the stages are.
    pub(super) fn show(&mut self, board: &Board) {
        match self {
            Self::Bars(_, bars) => {
                for (bar, (role, ..)) in bars.iter().zip(STAGES) {
                    bar.set_position(u64::from(board.done(role)));
                }
            }
            Self::Lines(last) => {
                // A line for every tenth of a stage is enough to see it move.
                let part = |role, total: u32| board.done(role) * 10 / total * (total / 10);
                let parts: Vec<_> = STAGES
                    .iter()
                    .map(|(role, what, total)| format!("{what} {}/{total}", part(*role, *total)))
                    .collect();
                let line = parts.join(", ");
                if *last != line {
                    say(&line);
                    *last = line;
                }
            }
        }
    }

    /// Says something that happened, above the bars.
    pub(super) fn say(&self, line: &str) {
        match self {
            Self::Bars(all, _) => drop(all.println(line)),
            Self::Lines(_) => say(line),
        }
    }

    /// Leaves the bars as they are.
    pub(super) fn finish(&self) {
        if let Self::Bars(_, bars) = self {
            bars.iter().for_each(ProgressBar::abandon);
        }
    }
}

#[expect(clippy::print_stderr, reason = "a command's progress")]
fn say(line: &str) {
    eprintln!("{line}");
}
