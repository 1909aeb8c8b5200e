//! Durations, sizes and times as people write them.

use std::time::SystemTime;

use manyhands_broker::Hold;
pub use manyhands_broker::read_duration as duration;

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

/// Reads a size in bytes: `64KiB`, `512MiB` or `2GiB`.
///
/// # Errors
/// When it is anything else, or nothing, with the reason.
pub fn size(text: &str) -> Result<u64, String> {
    let units = [("KiB", 1_u64 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let unit = units.into_iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, bytes)));
    let bytes = unit.and_then(|(number, bytes)| number.trim().parse::<u64>().ok()?.checked_mul(bytes));
    bytes
        .filter(|bytes| *bytes > 0 && *bytes <= i64::MAX as u64)
        .ok_or_else(|| format!("{text:?} is no size: write 64KiB, 512MiB or 2GiB"))
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_key_is_held_for_a_time_or_a_batch() {
        assert_eq!(hold("batch"), Ok(Hold::Batch));
        assert_eq!(hold("5s"), Ok(Hold::For(Duration::from_secs(5))));
        assert!(hold("5").is_err_and(|error| error.contains("batch")));
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!((size("64KiB"), size("1MiB"), size("2 GiB")), (Ok(65536), Ok(1 << 20), Ok(2 << 30)));
        for bad in ["64", "64kb", "MiB", "-1MiB", "1.5GiB", "0KiB", "99999999999GiB", ""] {
            assert!(size(bad).is_err(), "{bad}");
        }
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
