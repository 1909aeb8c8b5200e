//! Looking through what is known of tasks that are gone, and what tasks have by their keys.

use std::collections::BTreeSet;

use super::{HELD, Id, MOST, RedisBroker, flag, mended, shown, unexpected};
use crate::{QueueName, Result, backends::redis::scripts, fsck::Report};

/// What is known by a key or of tasks that are gone, and what tasks have by their keys.
const KEPT: [&str; 7] = ["unique", "seen", "results", "untils", HELD, "permits", "opening"];

impl RedisBroker {
    /// Looks at all of it.
    pub(super) async fn look_at_all_kept(
        &self,
        queue: &QueueName,
        repair: bool,
        report: &mut Report,
    ) -> Result<()> {
        for part in KEPT {
            self.look_at_kept(queue, part, repair, report).await?;
        }
        Ok(())
    }

    /// Looks at what is known by a key or of tasks that are gone.
    async fn look_at_kept(
        &self,
        queue: &QueueName,
        part: &str,
        repair: bool,
        report: &mut Report,
    ) -> Result<()> {
        let (mut known, mut cursor) = (BTreeSet::new(), "0".to_owned());
        loop {
            let count = MOST.to_string().into_bytes();
            let channel = self.keys.channel().into_bytes();
            let arguments = vec![flag(repair), part.as_bytes().to_vec(), cursor.into_bytes(), count, channel];
            let (next, wrong): (String, Vec<Id>) = self.step(&scripts::FSCK_KEPT, queue, arguments).await?;
            for wrong in wrong.chunks(3) {
                let [id, what, how] = wrong else { return Err(unexpected()) };
                let text = |bytes: &Id| String::from_utf8_lossy(bytes).into_owned();
                let finding = mended(queue, text(what), text(how), repair);
                let finding = if id.is_empty() { finding } else { finding.of(shown(id)) };
                // A listing may name the same twice.
                if known.insert(finding.clone()) {
                    report.add(finding);
                }
            }
            if next == "0" {
                return Ok(());
            }
            cursor = next;
        }
    }
}
