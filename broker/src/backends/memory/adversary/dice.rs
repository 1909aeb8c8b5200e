//! Numbers that look like chance and are the same for the same seed.

/// A generator: `SplitMix64` (Steele, Lea and Flood, 2014). Good enough to choose misfortunes.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// A generator of its own for each `lane` of a seed.
    pub(super) fn new(seed: u64, lane: u64) -> Self {
        let mut dice = Self(seed ^ mix(lane));
        // So that neighbouring seeds begin far apart.
        dice.0 = dice.roll();
        dice
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`; 0 where there is none.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let bound = (bound as u64).max(1);
        usize::try_from(self.roll() % bound).unwrap_or(0)
    }

    /// Whether it happens: so often of a thousand times.
    pub(super) fn happens(&mut self, thousandths: u32) -> bool {
        self.below(1000) < thousandths as usize
    }

    /// Puts things in any order.
    pub(super) fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last + 1));
        }
    }
}

fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_lane_roll_the_same() {
        let rolls = |seed, lane| {
            let mut dice = Dice::new(seed, lane);
            (0..20).map(|_| dice.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(rolls(7, 1), rolls(7, 1));
        assert_ne!(rolls(7, 1), rolls(7, 2));
        assert_ne!(rolls(7, 1), rolls(8, 1));
    }

    #[test]
    fn it_happens_as_often_as_it_is_to() {
        let mut dice = Dice::new(1, 1);
        let mut times = |thousandths| (0..10_000).filter(|_| dice.happens(thousandths)).count();
        assert_eq!((times(0), times(1000)), (0, 10_000));
        let half = times(500);
        assert!((4500..5500).contains(&half), "{half} of 10 000");
    }

    #[test]
    fn a_shuffle_keeps_all() {
        let mut things: Vec<_> = (0..20).collect();
        Dice::new(1, 1).shuffle(&mut things);
        assert!(!things.is_sorted(), "{things:?}");
        things.sort_unstable();
        assert_eq!(things, (0..20).collect::<Vec<_>>());
    }
}
