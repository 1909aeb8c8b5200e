//! What a worker does, in words: for whoever reads the output of a process that has no director.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use manyhands::{Ending, Observer, Running};
use serde::Deserialize;

use super::{events::say, films::PAGE, role::RoleName};

/// Says what a worker does.
#[derive(Debug)]
pub(super) struct Speaker {
    /// What its role does, in the past tense.
    did: &'static str,
    /// How many completed tasks it says one line about.
    every: u32,
    completed: AtomicU32,
}

/// The page that a task is about, where it says one.
#[derive(Deserialize)]
struct Named {
    page: String,
}

impl Speaker {
    pub(super) fn new(role: RoleName) -> Self {
        let (did, every) = match role {
            // A line a film would drown the other roles.
            RoleName::Saver => ("saved", PAGE),
            RoleName::Parser => ("parsed", 1),
            RoleName::Fetcher | RoleName::Site | RoleName::Producer => ("fetched", 1),
        };
        Self { did, every, completed: AtomicU32::new(0) }
    }

    /// What to say about the end of a run, if anything.
    fn words(&self, name: &str, ending: &Ending) -> Option<String> {
        Some(match ending {
            Ending::Completed => {
                let completed = self.completed.fetch_add(1, Ordering::Relaxed) + 1;
                match self.every {
                    1 => format!("{} {name}", self.did),
                    every if completed.is_multiple_of(every) => format!("{} {completed} films", self.did),
                    _ => return None,
                }
            }
            Ending::Retried(why, pause) => format!("{name} failed and is tried again in {pause:.1?}: {why}"),
            Ending::Buried(why) => format!("{name} is given up: {why}"),
            Ending::Released => format!("{name} is given back"),
            Ending::Cancelled => format!("{name} was cancelled"),
            Ending::Lost => format!("{name} was given to another process meanwhile"),
            _ => return None,
        })
    }
}

/// What a reader calls a task: its page, or its id.
fn name(run: &Running<'_>) -> String {
    serde_json::from_str(run.task.payload.as_str())
        .map_or_else(|_| run.task.lease.id.to_string(), |Named { page }| page)
}

impl Observer for Speaker {
    fn started(&self, run: &Running<'_>) {
        if run.task.deaths > 0 {
            say(&format!("{} is taken over from a process that died", name(run)));
        }
    }

    fn ended(&self, run: &Running<'_>, ending: &Ending, _took: Duration) {
        if let Some(line) = self.words(&name(run), ending) {
            say(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_page_and_one_for_25_films() {
        let fetcher = Speaker::new(RoleName::Fetcher);
        let fetched = || fetcher.words("page-0", &Ending::Completed);
        assert_eq!(
            [fetched(), fetched()],
            ["fetched page-0", "fetched page-0"].map(|line| Some(line.to_owned()))
        );
        let saver = Speaker::new(RoleName::Saver);
        let saved: Vec<_> = (0..60).filter_map(|_| saver.words("x", &Ending::Completed)).collect();
        assert_eq!(saved, ["saved 25 films", "saved 50 films"]);
        let failed = Ending::Retried("no answer".to_owned(), Duration::from_millis(1_234));
        assert_eq!(
            fetcher.words("page-0", &failed).unwrap(),
            "page-0 failed and is tried again in 1.2s: no answer"
        );
    }
}
