//! Looking through what a namespace keeps besides its queues: batches, and the answers of calls.
//!
//! The tasks of a batch are counted while its queues are looked through, in many steps. That is compared with what the batch counts only if
//! nothing happened to the batch meanwhile, which its record tells.

use std::collections::{BTreeMap, BTreeSet};

use super::{Id, MOST, RedisBroker, flag, note};
use crate::{Result, backends::redis::scripts, fsck::Report};

/// The batches by name: each as it stood before the queues were looked through, and how many unsettled tasks were found since.
#[derive(Debug, Default)]
pub(super) struct Batches {
    records: BTreeMap<Id, Id>,
    counted: BTreeMap<Id, u64>,
    /// Whether there are tasks whose batch cannot be read.
    unknown: bool,
}

impl Batches {
    /// An unsettled task of this batch was found; or one whose batch only a newer version can read, if it has no name.
    pub(super) fn count(&mut self, name: Id) {
        self.unknown |= name.is_empty();
        *self.counted.entry(name).or_default() += 1;
    }
}

impl RedisBroker {
    /// Looks at what is kept of batches, and takes down how each stands.
    pub(super) async fn look_at_batches(&self, repair: bool, report: &mut Report) -> Result<Batches> {
        let (mut batches, mut known) = (Batches::default(), BTreeSet::new());
        for part in ["batches", "numbers", "ended"] {
            let mut cursor = "0".to_owned();
            loop {
                let count = MOST.to_string().into_bytes();
                let arguments = vec![flag(repair), part.as_bytes().to_vec(), cursor.into_bytes(), count];
                let keys = self.keys.of_namespace();
                let (next, wrong, records): (String, Vec<String>, Vec<Id>) =
                    self.call("fsck", &scripts::FSCK_BATCHES, keys, arguments).await?;
                for pair in wrong.chunks(2) {
                    // A listing may name the same twice.
                    if known.insert(pair.to_vec()) {
                        note(report, None, pair, repair);
                    }
                }
                for record in records.chunks(2) {
                    batches.records.insert(record[0].clone(), record[1].clone());
                }
                if next == "0" {
                    break;
                }
                cursor = next;
            }
        }
        Ok(batches)
    }

    /// Compares what batches count with the tasks that were found.
    pub(super) async fn look_at_counts(
        &self,
        mut batches: Batches,
        repair: bool,
        report: &mut Report,
    ) -> Result<()> {
        if batches.unknown {
            return Ok(());
        }
        let names: BTreeSet<Id> = batches.records.keys().chain(batches.counted.keys()).cloned().collect();
        let names: Vec<Id> = names.into_iter().collect();
        for names in names.chunks(MOST) {
            let mut arguments = vec![self.keys.channel().into_bytes(), flag(repair)];
            for name in names {
                let record = batches.records.remove(name).unwrap_or_default();
                let counted = batches.counted.remove(name).unwrap_or_default();
                arguments.extend([name.clone(), record, counted.to_string().into_bytes()]);
            }
            let keys = self.keys.of_namespace();
            let wrong: Vec<String> = self.call("fsck", &scripts::FSCK_COUNTS, keys, arguments).await?;
            note(report, None, &wrong, repair);
        }
        Ok(())
    }

    /// Looks at the answers of the calls of each incarnation.
    pub(super) async fn look_at_calls(
        &self,
        calls: BTreeSet<String>,
        repair: bool,
        report: &mut Report,
    ) -> Result<()> {
        for key in calls {
            let keys = self.keys.of_namespace().into_iter().chain([key]).collect();
            let wrong: Vec<String> =
                self.call("fsck", &scripts::FSCK_CALLS, keys, vec![flag(repair)]).await?;
            note(report, None, &wrong, repair);
        }
        Ok(())
    }
}
