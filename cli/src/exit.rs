//! How programs end: one form of error, and exit codes that scripts can tell apart.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use manyhands_broker::{BrokerUrl, Error, ErrorKind};

/// Wrong usage or configuration.
const USAGE: u8 = 2;

/// Something was refused: a queue is full, a line is wrong, the broker cannot do it.
pub const REFUSED: u8 = 4;

/// Ended by a signal before everything was done.
pub const INTERRUPTED: u8 = 130;

/// The exit code of an error: 1 the answer is no, 2 wrong usage, 3 the broker could not be reached, 4 refused, 5 time
/// ran out.
#[must_use]
pub fn code(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::Invalid => USAGE,
        ErrorKind::Unavailable | ErrorKind::Corrupt | ErrorKind::Incompatible => 3,
        ErrorKind::Unsupported
        | ErrorKind::Conflict
        | ErrorKind::Full
        | ErrorKind::Closed
        | ErrorKind::Duplicate => REFUSED,
        ErrorKind::Timeout => 5,
        _ => 1,
    }
}

/// The exit code of success.
#[must_use]
pub fn success() -> ExitCode {
    ExitCode::SUCCESS
}

/// Writes an error to standard error, with the broker it came from, if one was given, and what to do about it; returns
/// its exit code.
#[must_use]
pub fn report(error: &Error, broker: Option<&str>) -> ExitCode {
    let mut text = format!("error: {}\n", error.report());
    if let Some(broker) = broker.filter(|broker| !broker.is_empty()) {
        text.push_str(&format!("  broker  {}\n", BrokerUrl::without_password(broker)));
    }
    if let Some(advice) = error.advice() {
        text.push_str(&format!("  try     {advice}\n"));
    }
    say(&text);
    ExitCode::from(code(error))
}

/// Writes a line to standard error.
pub fn note(line: &str) {
    say(&format!("{line}\n"));
}

/// Writes what clap has to say: help to standard output, errors to standard error, in the form that all errors have. Returns the
/// exit code.
#[must_use]
pub fn usage(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    if text.starts_with("error: ") {
        say(&formed(&text));
    } else {
        // Help. A closed pipe is no reason to fail.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE))
}

/// An error of clap's in the form of all errors: its first paragraph, then how the command is used, then what to do.
fn formed(text: &str) -> String {
    let (mut said, mut usage, mut tips) = (String::new(), None, Vec::new());
    for paragraph in text.split("\n\n").map(str::trim_end).filter(|paragraph| !paragraph.is_empty()) {
        let words = paragraph.trim_start();
        if let Some(how) = words.strip_prefix("Usage: ") {
            usage = Some(how.split_whitespace().collect::<Vec<_>>().join(" "));
        } else if let Some(tip) = words.strip_prefix("tip: ") {
            tips.extend(tip.lines().map(|line| line.trim().trim_start_matches("tip: ").to_owned()));
        } else if !words.starts_with("For more information") {
            said.push_str(paragraph);
            said.push('\n');
        }
    }
    said.extend(usage.map(|usage| format!("  usage   {usage}\n")));
    tips.push("--help".to_owned());
    said.extend(tips.into_iter().map(|tip| format!("  try     {tip}\n")));
    said
}

/// One write, so that lines of several processes do not mix. A closed pipe is no reason to fail.
fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Whether standard error is a terminal.
#[must_use]
pub fn on_terminal() -> bool {
    std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clap_says_has_the_form_of_all_errors() {
        let command = || {
            clap::Command::new("send")
                .arg(clap::Arg::new("delay").long("delay").value_parser(crate::text::duration))
                .arg(clap::Arg::new("unique").long("unique"))
                .arg(clap::Arg::new("hold").long("hold").requires("unique"))
        };
        let said = |args: &[&str]| {
            let error = command().try_get_matches_from([&["send"], args].concat()).unwrap_err();
            formed(&error.render().to_string())
        };
        assert_eq!(
            said(&["--delay", "5"]),
            "error: invalid value '5' for '--delay <delay>': \"5\" is no duration: write 150ms, 5s, 2m, 1h, 7d or 1h30m\n  \
             try     --help\n"
        );
        assert_eq!(
            said(&["--dela", "5"]),
            "error: unexpected argument '--dela' found\n  usage   send --delay <delay>\n  \
             try     a similar argument exists: '--delay'\n  try     --help\n"
        );
        let missing = said(&["--hold", "x"]);
        assert!(missing.starts_with(
            "error: the following required arguments were not provided:\n  --unique <unique>\n"
        ));
        assert!(missing.ends_with("\n  try     --help\n"), "{missing}");
    }
}
