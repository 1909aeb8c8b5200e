//! Durations and times as people write them.

use std::time::{Duration, SystemTime};

use manyhands_broker::Hold;

/// Reads a duration: a whole number and its unit, `150ms`, `5s`, `2m`, `1h` or `7d`, or several such, `1h30m`.
///
/// # Errors
/// When it is anything else, with the reason.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write 150ms, 5s, 2m, 1h, 7d or 1h30m");
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let ms = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let part = number.checked_mul(ms).map(Duration::from_millis).ok_or_else(wrong)?;
        sum = sum.checked_add(part).ok_or_else(wrong)?;
        rest = after;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(sum) }
}

/// Reads for how long a unique key is held: a duration, or `batch`.
///
/// # Errors
/// When it is neither, with the reason.
pub fn hold(text: &str) -> Result<Hold, String> {
    match text {
        "batch" => Ok(Hold::Batch),
        _ => duration(text).map(Hold::For).map_err(|wrong| format!("{wrong}, or batch")),
    }
}

/// Reads a time with its zone: `2026-12-24T18:00:00Z`, or with an offset, `2026-12-24T19:00:00+01:00`.
///
/// # Errors
/// When it is anything else, with the reason.
pub fn time(text: &str) -> Result<SystemTime, String> {
    let read: Result<jiff::Timestamp, _> = text.parse();
    read.map(SystemTime::from)
        .map_err(|_| format!("{text:?} is no time: write 2026-12-24T18:00:00Z, or 2026-12-24T19:00:00+01:00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_units() {
        for (text, ms) in [
            ("150ms", 150),
            ("5s", 5000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in
            ["", "5", "s", "5 s", "-5s", "1.5s", "5sec", "5s3", "99999999999999999999s", "9999999999999999d"]
        {
            assert!(duration(bad).is_err_and(|error| error.contains(bad)), "{bad}");
        }
    }

    #[test]
    fn a_key_is_held_for_a_time_or_a_batch() {
        assert_eq!(hold("batch"), Ok(Hold::Batch));
        assert_eq!(hold("5s"), Ok(Hold::For(Duration::from_secs(5))));
        assert!(hold("5").is_err_and(|error| error.contains("batch")));
    }

    #[test]
    fn times_need_zones() {
        let day = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
        assert_eq!(time("1970-01-02T00:00:00Z"), Ok(day));
        assert_eq!(time("1970-01-02T01:00:00+01:00"), Ok(day));
        for bad in ["1970-01-02T00:00:00", "tomorrow", "18:00", ""] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
