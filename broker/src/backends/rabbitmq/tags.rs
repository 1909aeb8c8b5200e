//! The deliveries of a channel that are not acknowledged yet, and how to acknowledge many of them with few words.
//!
//! The server numbers what it delivers on a channel, whoever consumes it, and takes one number for all up to it. That is said only of what
//! was seen up to there without a gap, and of nothing that is still open: else it would end deliveries that nobody here has read.

use std::collections::BTreeSet;

/// The numbers of a channel's deliveries.
#[derive(Debug, Default)]
pub(super) struct Tags {
    /// All up to this one were seen.
    seen: u64,
    /// Those that were seen before another one below them.
    ahead: BTreeSet<u64>,
    /// Those that are neither acknowledged nor handed back: what says so is not on its way yet.
    open: BTreeSet<u64>,
    /// How many were acknowledged by themselves since the first that is open is the first.
    held_back: usize,
}

/// How to acknowledge some deliveries.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// All up to this one.
    pub(super) up_to: Option<u64>,
    /// These, each by itself.
    pub(super) each: Vec<u64>,
}

impl Tags {
    fn see(&mut self, tag: u64) {
        if tag == self.seen + 1 && self.ahead.is_empty() {
            self.seen = tag;
            return;
        }
        self.ahead.insert(tag);
        while self.ahead.first() == Some(&(self.seen + 1)) {
            self.ahead.pop_first();
            self.seen += 1;
        }
    }

    /// Notes a delivery.
    pub(super) fn open(&mut self, tag: u64) {
        self.open.insert(tag);
        self.see(tag);
    }

    /// Notes that what ends a delivery is on its way.
    pub(super) fn close(&mut self, tag: u64) {
        if self.open.first() == Some(&tag) {
            self.held_back = 0;
        }
        self.open.remove(&tag);
    }

    pub(super) fn any_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// How many were acknowledged by themselves since the first that is open is the first: for that long it runs, or nearly.
    pub(super) fn held_back(&self) -> usize {
        self.held_back
    }

    /// How to acknowledge these, which are open. They stay so until that is on its way: nobody else may speak for them meanwhile.
    pub(super) fn words_for(&mut self, mut tags: Vec<u64>) -> Words {
        tags.sort_unstable();
        // How many of them come before any other one that is open.
        let first = tags.iter().zip(&self.open).take_while(|(tag, open)| tag == open).count();
        let seen = tags[..first].partition_point(|tag| *tag <= self.seen);
        let each = tags.split_off(seen);
        self.held_back += each.len();
        Words { up_to: tags.pop(), each }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn opened(tags: impl IntoIterator<Item = u64>) -> Tags {
        let mut all = Tags::default();
        tags.into_iter().for_each(|tag| all.open(tag));
        all
    }

    fn words(up_to: impl Into<Option<u64>>, each: &[u64]) -> Words {
        Words { up_to: up_to.into(), each: each.to_vec() }
    }

    #[test]
    fn one_word_is_for_all_before_the_first_that_stays_open() {
        let mut tags = opened(1..=6);
        assert_eq!(tags.words_for(vec![2, 1, 3]), words(3, &[]));
        assert_eq!(tags.words_for(vec![1, 2, 4, 5]), words(2, &[4, 5]));
        assert_eq!(tags.words_for(vec![2, 3]), words(None, &[2, 3]));
        assert_eq!(tags.words_for(Vec::new()), words(None, &[]));
    }

    #[test]
    fn nothing_is_said_of_what_was_not_seen() {
        let mut tags = opened([1, 2, 4]);
        assert_eq!(tags.words_for(vec![1, 2, 4]), words(2, &[4]), "3 is on its way");
        tags.open(3);
        assert_eq!(tags.words_for(vec![1, 2, 4]), words(2, &[4]), "3 is open");
        tags.close(3);
        assert_eq!(tags.words_for(vec![1, 2, 4]), words(4, &[]));
    }

    #[test]
    fn what_one_holds_back_is_counted_as_long_as_it_is_the_first() {
        let mut tags = opened(1..=9);
        for (ended, held_back) in [(vec![2, 3], 2), (vec![5], 3), (vec![1], 0), (vec![6, 7], 2), (vec![4], 0)]
        {
            tags.words_for(ended.clone());
            ended.into_iter().for_each(|tag| tags.close(tag));
            assert_eq!(tags.held_back(), held_back);
        }
        assert!(tags.any_open());
        [8, 9].into_iter().for_each(|tag| tags.close(tag));
        assert!(!tags.any_open());
    }

    #[test]
    fn what_is_on_its_way_is_open_no_more() {
        let mut tags = opened(1..=3);
        tags.close(1);
        assert_eq!(tags.words_for(vec![2, 3]), words(3, &[]));
    }

    proptest! {
        /// What the server does with the words is what was meant.
        #[test]
        fn the_server_ends_those_and_no_others(
            order in Just((1..=30_u64).collect::<Vec<_>>()).prop_shuffle(),
            seen in 0..30_usize,
            kinds in proptest::collection::vec(0..3_u8, 30),
        ) {
            // As the server has it: all of them are delivered.
            let mut server: BTreeSet<u64> = (1..=30).collect();
            let mut tags = opened(order[..seen].iter().copied());
            let ended: Vec<u64> = order[..seen].iter().copied().filter(|tag| kinds[*tag as usize - 1] > 0).collect();
            let Words { up_to, each } = tags.words_for(ended.clone());
            let mut meant = server.clone();
            meant.retain(|tag| !ended.contains(tag));
            if let Some(up_to) = up_to {
                prop_assert!(server.contains(&up_to), "the server knows it");
                server.retain(|tag| *tag > up_to);
            }
            for tag in each {
                prop_assert!(server.remove(&tag), "the server knows it");
            }
            prop_assert_eq!(server, meant);
        }
    }
}
