//! What commands print: tables for people, as wide as the terminal, and lines of JSON.

use std::{
    io::{BufWriter, IsTerminal, Stdout, Write},
    time::{Duration, SystemTime},
};

use manyhands::{Error, ErrorKind, Result};
use manyhands_cli::Color;
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

/// The operation of an error that says that nobody reads any more.
pub(super) const PIPE: &str = "print";

/// How many rows are laid out together.
const TOGETHER: usize = 512;

/// Between two columns.
const GAP: usize = 2;

/// Standard output.
pub(super) struct Out {
    to: BufWriter<Stdout>,
    color: bool,
    /// How many columns there are; `None` where it does not matter.
    width: Option<usize>,
    /// The table that goes on.
    table: Option<Table>,
}

/// A table of which not all rows are known yet.
struct Table {
    heading: &'static [&'static str],
    widths: Vec<usize>,
    /// Whether something of it was written.
    begun: bool,
    /// Those that wait.
    rows: Vec<Vec<Cell>>,
}

/// A cell of a table. What it says may come from anywhere, so no control characters are printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    right: bool,
    style: &'static str,
}

impl Cell {
    pub(super) fn text(text: impl AsRef<str>) -> Self {
        Self { text: plain(text.as_ref()), ..Self::default() }
    }

    pub(super) fn number(number: impl ToString) -> Self {
        Self { text: number.to_string(), right: true, style: "" }
    }

    /// Something that somebody should look at.
    pub(super) fn bad_if(mut self, bad: bool) -> Self {
        self.style = if bad { "\x1b[31m" } else { self.style };
        self
    }
}

/// A text on one line, without what would move a terminal's cursor or change its colours.
pub(super) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { shown.extend(c.escape_debug()) } else { shown.push(c) }
    }
    shown
}

impl Out {
    pub(super) fn new(color: Color) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let color = color.wanted(terminal);
        let given = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let width = given.or_else(|| if terminal { columns() } else { None }).filter(|width| *width > 0);
        Self { to: BufWriter::new(std::io::stdout()), color, width, table: None }
    }

    /// One object of JSON.
    pub(super) fn object(&mut self, object: &Value) -> Result<()> {
        self.line(&object.to_string())
    }

    pub(super) fn line(&mut self, line: &str) -> Result<()> {
        let written = writeln!(self.to, "{line}");
        written.map_err(failed)
    }

    /// Rows under a heading. They are laid out together, some hundreds at a time, so that what follows goes on with the same columns.
    pub(super) fn rows(&mut self, heading: &'static [&'static str], rows: Vec<Vec<Cell>>) -> Result<()> {
        let table = self.table.get_or_insert_with(|| Table {
            heading,
            widths: heading.iter().map(|name| name.width()).collect(),
            begun: false,
            rows: Vec::new(),
        });
        table.rows.extend(rows);
        if table.rows.len() < TOGETHER { Ok(()) } else { self.lay_out() }
    }

    /// Whether no row was given.
    pub(super) fn is_empty(&self) -> bool {
        self.table.as_ref().is_none_or(|table| !table.begun && table.rows.is_empty())
    }

    /// Writes the rows that wait. Where a row would not fit, each row is a block of lines instead.
    fn lay_out(&mut self) -> Result<()> {
        let Some(mut table) = self.table.take() else { return Ok(()) };
        for row in &table.rows {
            for (width, cell) in table.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        let total = table.widths.iter().sum::<usize>() + GAP * table.widths.len().saturating_sub(1);
        let fits = self.width.is_none_or(|width| total <= width);
        for row in std::mem::take(&mut table.rows) {
            if fits {
                if !table.begun {
                    let head = table.heading.iter().zip(&row);
                    let head: Vec<_> = head
                        .map(|(name, cell)| Cell {
                            text: (*name).to_owned(),
                            right: cell.right,
                            style: "\x1b[1m",
                        })
                        .collect();
                    self.row(&head, &table.widths)?;
                }
                self.row(&row, &table.widths)?;
            } else {
                if table.begun {
                    self.line("")?;
                }
                let said = table.heading.iter().copied().zip(row).filter(|(_, cell)| !cell.text.is_empty());
                self.block(&said.collect::<Vec<_>>())?;
            }
            table.begun = true;
        }
        self.table = Some(table);
        Ok(())
    }

    fn row(&mut self, row: &[Cell], widths: &[usize]) -> Result<()> {
        let mut line = String::new();
        for (number, (cell, width)) in row.iter().zip(widths).enumerate() {
            let space = " ".repeat(width.saturating_sub(cell.text.width()));
            let last = number + 1 == row.len();
            if number > 0 {
                line.push_str(&" ".repeat(GAP));
            }
            if cell.right {
                line.push_str(&space);
            }
            line.push_str(&self.styled(cell));
            if !cell.right && !last {
                line.push_str(&space);
            }
        }
        self.line(line.trim_end())
    }

    /// Names and what they have, a line each. What is too long for the line goes on below.
    pub(super) fn block(&mut self, lines: &[(&str, Cell)]) -> Result<()> {
        let names = lines.iter().map(|(name, _)| name.width()).max().unwrap_or_default();
        let room = self.width.map(|width| width.saturating_sub(names + GAP).max(10));
        for (name, cell) in lines {
            let parts = room.map_or_else(|| vec![cell.text.clone()], |room| cut(&cell.text, room));
            for (number, part) in parts.into_iter().enumerate() {
                let name = if number == 0 { name } else { "" };
                let shown = self.styled(&Cell { text: part, ..cell.clone() });
                self.line(format!("{name:names$}{:GAP$}{shown}", "").trim_end())?;
            }
        }
        Ok(())
    }

    fn styled(&self, Cell { text, style, .. }: &Cell) -> String {
        if self.color && !style.is_empty() { format!("{style}{text}\x1b[0m") } else { text.clone() }
    }

    /// Writes what is not written yet.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.lay_out()?;
        self.to.flush().map_err(failed)
    }
}

/// Cuts a text into parts that are so wide at most.
fn cut(text: &str, room: usize) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut used = 0;
    for c in text.chars() {
        let width = c.to_string().width();
        if used + width > room {
            parts.push(String::new());
            used = 0;
        }
        used += width;
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

fn failed(error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return Error::new(ErrorKind::Closed, PIPE, "nobody reads standard output").because(error);
    }
    Error::new(ErrorKind::Internal, "output", "the answer cannot be printed").because(error)
}

/// How wide the terminal is.
fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col))
}

/// A time in UTC, as RFC 3339 writes it.
pub(super) fn time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "?".to_owned(), |time| time.to_string())
}

/// Milliseconds of a duration.
pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A duration as it can be given to a flag: `1h30m`, `250ms`; no more than two units.
pub(super) fn duration(duration: Duration) -> String {
    let mut rest = ms(duration);
    let mut text = String::new();
    let mut parts = 0;
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        let number = rest / length;
        rest %= length;
        if number > 0 {
            text.push_str(&format!("{number}{unit}"));
        }
        parts += u8::from(number > 0 || parts > 0);
        if parts == 2 {
            break;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// How long is left of something, for people: what is longer than a second is told without its milliseconds.
pub(super) fn left(time: Duration) -> String {
    duration(if time < Duration::from_secs(1) { time } else { Duration::from_secs(time.as_secs()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_in_few_words() {
        let told = [250, 999, 1000, 28_919, 239_999].map(|ms| left(Duration::from_millis(ms)));
        assert_eq!(told, ["250ms", "999ms", "1s", "28s", "3m59s"]);
    }

    #[test]
    fn durations_are_shown_as_they_can_be_given() {
        for (ms, text) in [
            (0, "0s"),
            (250, "250ms"),
            (1000, "1s"),
            (1250, "1s250ms"),
            (61_999, "1m1s"),
            (3_600_000, "1h"),
            (3_600_001, "1h"),
            (5_400_000, "1h30m"),
            (7 * 86_400_000, "7d"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text, "{ms}");
            assert!(super::super::text::duration(text).is_ok());
        }
    }

    #[test]
    fn nothing_that_is_shown_moves_the_cursor() {
        assert_eq!(plain("a\x1b[2Jb\n\tc"), "a\\u{1b}[2Jb\\n\\tc");
        assert_eq!(Cell::text("ä\r").text, "ä\\r");
    }

    #[test]
    fn long_texts_are_cut_by_their_width() {
        assert_eq!(cut("abcdef", 4), ["abcd", "ef"]);
        assert_eq!(cut("日本語", 4), ["日本", "語"]);
        assert_eq!(cut("", 4), [""]);
    }
}
