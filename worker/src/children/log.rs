//! What children say that is no answer: it becomes lines of the worker's log, and the end of it is told with a failure.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use manyhands_broker::TaskName;
use tokio::io::AsyncRead;

use super::{
    lines::{Line, Lines},
    protocol::Level,
};

/// How much is kept of a line.
const LINE: usize = 4096;

/// How much of what was said last is told with a failure.
const TAIL: usize = 1024;

/// How many lines of one child are shown in a second. What is more is counted, and that is told.
const PER_SECOND: u32 = 1000;

/// The log of one child. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: TaskName,
    pid: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tail: VecDeque<String>,
    bytes: usize,
    second: Instant,
    shown: u32,
    left_out: u64,
}

impl Log {
    pub(super) fn new(name: TaskName, pid: u32) -> Self {
        let state = State { tail: VecDeque::new(), bytes: 0, second: Instant::now(), shown: 0, left_out: 0 };
        Self(Arc::new(Inner { name, pid, state: Mutex::new(state) }))
    }

    /// Reads standard error to its end.
    pub(super) async fn follow(self, pipe: impl AsyncRead + Unpin) {
        let mut lines = Lines::new(pipe, LINE);
        while let Ok(Some(line)) = lines.next().await {
            self.keep(&line);
            self.say(&line);
        }
        self.flush();
    }

    /// Shows a line.
    pub(super) fn say(&self, line: &Line) {
        let (name, pid) = (&self.0.name, self.0.pid);
        if self.shows() {
            let text = String::from_utf8_lossy(&line.text[..line.text.len().min(LINE)]);
            let more = if line.bytes > LINE { " …" } else { "" };
            tracing::info!(target: "handler", task = %name, pid, "{}{more}", tame(text.trim_end()));
        }
    }

    /// Shows a message that the child says is one for the log, of a task if it names one.
    pub(super) fn message(&self, level: Level, text: &str, id: Option<&str>) {
        if !self.shows() {
            return;
        }
        let more = if text.len() > LINE { " …" } else { "" };
        let text = format!("{}{more}", tame(text[..text.floor_char_boundary(LINE)].trim_end()));
        let (name, pid, id) =
            (&self.0.name, self.0.pid, id.map(|id| tame(&id[..id.floor_char_boundary(128)])));
        match level {
            Level::Error => tracing::error!(target: "handler", task = %name, id, pid, "{text}"),
            Level::Warn => tracing::warn!(target: "handler", task = %name, id, pid, "{text}"),
            Level::Info => tracing::info!(target: "handler", task = %name, id, pid, "{text}"),
            Level::Debug => tracing::debug!(target: "handler", task = %name, id, pid, "{text}"),
        }
    }

    /// Whether one more line is shown now.
    fn shows(&self) -> bool {
        let (show, left_out) = self.state(|state| state.count());
        self.tell(left_out);
        show
    }

    fn tell(&self, left_out: u64) {
        let (name, pid) = (&self.0.name, self.0.pid);
        if left_out > 0 {
            tracing::warn!(target: "handler", task = %name, pid, "{left_out} lines are left out: more than {PER_SECOND} in a second");
        }
    }

    /// Tells how many lines were left out, if any.
    pub(super) fn flush(&self) {
        let left_out = self.state(|state| std::mem::take(&mut state.left_out));
        self.tell(left_out);
    }

    /// What was said last, in one line, to be added to an error; empty if nothing was.
    pub(super) fn last_words(&self) -> String {
        let words = self.state(|state| state.tail.iter().cloned().collect::<Vec<_>>().join(" | "));
        if words.is_empty() { words } else { format!(": {words}") }
    }

    fn keep(&self, line: &Line) {
        let text = String::from_utf8_lossy(&line.text[..line.text.len().min(TAIL)]);
        let text = text.trim().to_owned();
        if text.is_empty() {
            return;
        }
        self.state(|state| {
            state.bytes += text.len();
            state.tail.push_back(text);
            while state.bytes > TAIL && state.tail.len() > 1 {
                state.bytes -= state.tail.pop_front().map_or(0, |old| old.len());
            }
        });
    }

    fn state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    /// Counts a line: whether it is shown, and how many were not that are to be told of now.
    fn count(&mut self) -> (bool, u64) {
        let mut told = 0;
        if self.second.elapsed() >= Duration::from_secs(1) {
            (self.second, self.shown) = (Instant::now(), 0);
            told = std::mem::take(&mut self.left_out);
        }
        let show = self.shown < PER_SECOND;
        self.shown += u32::from(show);
        self.left_out += u64::from(!show);
        (show, told)
    }
}

/// With escape sequences for what a terminal would obey: it is the text of others.
fn tame(text: &str) -> String {
    let escaped =
        |c: char| if c.is_control() && c != '\t' { c.escape_debug().collect() } else { String::from(c) };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line { text: text.into(), bytes: text.len(), ended: true }
    }

    #[test]
    fn the_end_of_what_was_said_is_kept() {
        let log = Log::new("t".parse().unwrap(), 1);
        assert_eq!(log.last_words(), "");
        for text in ["first", "", "Traceback:", "  KeyError"] {
            log.keep(&line(text));
        }
        assert_eq!(log.last_words(), ": first | Traceback: | KeyError");
        log.keep(&line(&"x".repeat(10_000)));
        assert_eq!(log.last_words().len(), TAIL + 2);
    }

    #[test]
    fn a_flood_is_counted() {
        // A second that does not end while this runs.
        let second = Instant::now() + Duration::from_secs(3600);
        let mut state = State { tail: VecDeque::new(), bytes: 0, second, shown: 0, left_out: 0 };
        let shown = (0..PER_SECOND + 5).filter(|_| state.count().0).count();
        assert_eq!((shown, state.left_out), (PER_SECOND as usize, 5));
        // The next one tells of them.
        if let Some(past) = Instant::now().checked_sub(Duration::from_secs(2)) {
            state.second = past;
            assert_eq!(state.count(), (true, 5));
        }
    }

    #[test]
    fn terminals_are_not_obeyed() {
        assert_eq!(tame("a\tb\u{1b}[31mc"), "a\tb\\u{1b}[31mc");
    }
}
