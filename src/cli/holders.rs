//! The processes that hold tasks, as far as they are known.

use std::collections::BTreeMap;

use manyhands::{Holder, Lookup, Result, Standing, TaskInfo};
use manyhands_broker::{Incarnation, limits};
use serde_json::{Map, Value, json};

/// Which process each incarnation is.
#[derive(Debug, Default)]
pub(super) struct Holders(BTreeMap<Incarnation, Holder>);

impl Holders {
    /// Asks for these.
    pub(super) async fn of(lookup: &dyn Lookup, incarnations: &[Incarnation]) -> Result<Self> {
        let mut unique = incarnations.to_vec();
        unique.sort_unstable();
        unique.dedup();
        let mut known = BTreeMap::new();
        for asked in unique.chunks(limits::MAX_BATCH) {
            let found = lookup.holders(asked).await?;
            known.extend(asked.iter().zip(found).filter_map(|(by, holder)| Some((*by, holder?))));
        }
        Ok(Self(known))
    }

    /// Asks for those that hold these tasks.
    pub(super) async fn of_tasks(lookup: &dyn Lookup, tasks: &[TaskInfo]) -> Result<Self> {
        let holder = |task: &TaskInfo| match task.standing {
            Standing::Leased { by, .. } => Some(by),
            _ => None,
        };
        Self::of(lookup, &tasks.iter().filter_map(holder).collect::<Vec<_>>()).await
    }

    /// A process in words.
    pub(super) fn words(&self, by: Incarnation) -> String {
        match self.0.get(&by) {
            Some(holder) => format!("{holder} (incarnation {by})"),
            None => format!("incarnation {by}, a process of which nothing else is known"),
        }
    }

    /// Adds what is known of a process to an object; all of it is null where there is none.
    pub(super) fn tell(&self, by: Option<Incarnation>, object: &mut Map<String, Value>) {
        let known = by.and_then(|by| self.0.get(&by));
        object.insert("holder".to_owned(), json!(by.map(|by| by.to_string())));
        object.insert("holder_host".to_owned(), json!(known.map(|holder| &holder.host)));
        object.insert("holder_pid".to_owned(), json!(known.map(|holder| holder.pid)));
    }
}
