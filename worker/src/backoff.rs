//! How long a task that failed is put off: a pure function.

use std::time::Duration;

/// The delay after the first failure.
const FIRST: Duration = Duration::from_secs(1);

/// The most that a task is put off.
const MOST: Duration = Duration::from_secs(600);

/// The delay after `failures` failures, at least 1: 1 s × 2ⁿ, at most 10 min, ± 25 % by `seed`, so that tasks that
/// failed together are not tried again together.
#[must_use]
pub fn delay(failures: u32, seed: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let base = FIRST.saturating_mul(1 << doublings).min(MOST);
    // 0 to 1023 of 1024 parts of the range from 75 % to 125 %.
    let part = u32::try_from(mix(seed) % 1024).unwrap_or(0);
    base * 3 / 4 + base / 2 * part / 1024
}

/// Spreads the bits of a number: the finaliser of `SplitMix64` (Steele, Lea and Flood, 2014).
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_ten_minutes() {
        for (failures, seconds) in [(0, 1), (1, 1), (2, 2), (3, 4), (10, 512), (11, 600), (u32::MAX, 600)] {
            for seed in 0..1000 {
                let delay = delay(failures, seed).as_secs_f64() / f64::from(seconds);
                assert!((0.75..1.25).contains(&delay), "{failures} failures: {delay} of {seconds} s");
            }
        }
    }

    #[test]
    fn it_spreads() {
        let delays: std::collections::BTreeSet<_> = (0..100).map(|seed| delay(3, seed)).collect();
        assert!(delays.len() > 80, "only {} different delays", delays.len());
    }
}
