//! What a feed came to.

use std::{path::Path, time::Duration};

use manyhands_broker::Result;

/// Counts lines by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// They are on the queue now.
    pub(super) sent: u64,
    /// They were sent before.
    pub(super) already_there: u64,
    /// They are no payloads.
    pub(super) rejected: u64,
    /// How long it took.
    pub(super) took: Duration,
}

impl Tally {
    /// Prints it to standard output.
    pub(super) fn print(&self, json: bool, rejected: Option<&Path>, done: bool) -> Result<()> {
        let line = if json { self.json(rejected, done) } else { self.line() };
        manyhands_cli::answer("feed", &line, || format!("{}; but that cannot be printed", self.line()))
    }

    fn line(&self) -> String {
        let Self { sent, already_there, rejected, .. } = self;
        format!("sent {sent}, already there {already_there}, rejected {rejected}, {}/s", self.rate())
    }

    fn json(&self, file: Option<&Path>, done: bool) -> String {
        let Self { sent, already_there, rejected, took } = self;
        serde_json::json!({
            "sent": sent,
            "already_there": already_there,
            "rejected": rejected,
            "rejected_file": file.map(|file| file.display().to_string()),
            "per_second": self.rate(),
            "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "done": done,
        })
        .to_string()
    }

    /// Sent tasks a second.
    fn rate(&self) -> u64 {
        // At least a millisecond: what took no time tells no rate.
        (self.sent as f64 / self.took.as_secs_f64().max(0.001)).round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_with_one_line() {
        let tally =
            Tally { sent: 99_998, already_there: 0, rejected: 2, took: Duration::from_millis(123_150) };
        assert_eq!(tally.line(), "sent 99998, already there 0, rejected 2, 812/s");
        assert_eq!(
            tally.json(Some(Path::new("a.rejected")), true),
            r#"{"already_there":0,"done":true,"per_second":812,"rejected":2,"rejected_file":"a.rejected","sent":99998,"took_ms":123150}"#
        );
    }
}
