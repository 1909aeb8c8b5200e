//! A bar on the terminal; nothing anywhere else.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::tally::Tally;

/// How often it is drawn, in times a second.
const HZ: u8 = 5;

#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Begins, with the bytes of the source if they are known. Nothing is drawn where standard error is no terminal.
    pub(super) fn start(size: Option<u64>, wanted: bool) -> Self {
        let target =
            if wanted { ProgressDrawTarget::stderr_with_hz(HZ) } else { ProgressDrawTarget::hidden() };
        let (bar, template) = match size {
            Some(size) => (ProgressBar::new(size), "{bar:20} {bytes}/{total_bytes}  {msg}  {eta} left"),
            None => (ProgressBar::no_length(), "{spinner} {bytes}  {msg}"),
        };
        bar.set_draw_target(target);
        // The templates are checked by a test.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Shows how far it is.
    pub(super) fn show(&self, position: u64, tally: &Tally) {
        self.0.set_position(position);
        let Tally { sent, already_there, rejected, .. } = tally;
        self.0.set_message(format!("sent {sent}, already there {already_there}, rejected {rejected}"));
    }

    /// Says something above the bar, also where no bar is drawn.
    pub(super) fn say(&self, line: &str) {
        self.0.suspend(|| manyhands_cli::note(line));
    }

    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_understood() {
        for template in ["{bar:20} {bytes}/{total_bytes}  {msg}  {eta} left", "{spinner} {bytes}  {msg}"] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
