//! Durations as people write them.

use std::time::Duration;

/// The units, the longest first, with their milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads a duration: a whole number and its unit, `150ms`, `5s`, `2m`, `1h` or `7d`, or several such, `1h30m`.
///
/// # Errors
/// When it is anything else, with the reason.
pub fn read_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write 150ms, 5s, 2m, 1h, 7d or 1h30m");
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let (_, ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let part = number.checked_mul(*ms).map(Duration::from_millis).ok_or_else(wrong)?;
        sum = sum.checked_add(part).ok_or_else(wrong)?;
        rest = after;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(sum) }
}

/// Writes a duration as [`read_duration`] reads it, in whole milliseconds: `1h30m`.
#[must_use]
pub fn write_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, ms) in UNITS {
        if left >= ms {
            text.push_str(&format!("{}{unit}", left / ms));
            left %= ms;
        }
    }
    if text.is_empty() { "0ms".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_they_are_written() {
        for (text, ms) in [("0ms", 0), ("1h30m", 5_400_000), ("7d", 604_800_000), ("1s500ms", 1500)] {
            let duration = Duration::from_millis(ms);
            assert_eq!(read_duration(text), Ok(duration), "{text}");
            assert_eq!(write_duration(duration), text);
        }
    }

    #[test]
    fn durations_need_units() {
        assert_eq!(read_duration("0s"), Ok(Duration::ZERO));
        for bad in
            ["", "5", "s", "5 s", "-5s", "1.5s", "5sec", "5s3", "99999999999999999999s", "9999999999999999d"]
        {
            assert!(read_duration(bad).is_err_and(|error| error.contains(bad)), "{bad}");
        }
    }
}
