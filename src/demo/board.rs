//! What the director knows: the sum of what the processes told of themselves.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use super::{
    events::{Event, Kind},
    role::RoleName,
};

/// One start of one process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) role: RoleName,
    pub(super) pid: u32,
    /// How it ended, once it did.
    pub(super) end: Option<String>,
    /// Tasks completed, or sent by the producer.
    pub(super) tasks: u32,
    /// Handlers that failed and were tried again.
    pub(super) retries: u32,
    /// Tasks run here that a dead process had held.
    pub(super) taken_over: u32,
    /// The time that its handlers took, one after the other.
    pub(super) busy: Duration,
    /// Handlers that run now.
    pub(super) running: BTreeSet<String>,
    /// Tasks that were started and not settled, as far as it told.
    pub(super) unsettled: BTreeSet<String>,
}

/// A task that was run again after its process was killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rerun {
    pub(super) id: String,
    pub(super) pid: u32,
    pub(super) after: Duration,
}

/// The process that the director killed.
#[derive(Debug)]
pub(super) struct Killed {
    pub(super) process: usize,
    pub(super) at: Instant,
    /// What its handlers were running: all of it must be run again.
    pub(super) running: BTreeSet<String>,
    /// What it had not settled: what it was running, and what it may have finished in its last moment.
    pub(super) unsettled: BTreeSet<String>,
    pub(super) reruns: Vec<Rerun>,
    /// Whether its last words were heard: until then, any task that starts elsewhere may be one of its own.
    pub(super) silent: bool,
}

/// Everything that was told.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) processes: Vec<Process>,
    pub(super) killed: Option<Killed>,
    /// Tasks completed a role, whichever process did it.
    done: HashMap<RoleName, u32>,
    pub(super) buried: u32,
    pub(super) site: Option<String>,
}

impl Board {
    /// Notes the start of a process and returns its index.
    pub(super) fn start(&mut self, role: RoleName, pid: u32) -> usize {
        self.processes.push(Process {
            role,
            pid,
            end: None,
            tasks: 0,
            retries: 0,
            taken_over: 0,
            busy: Duration::ZERO,
            running: BTreeSet::new(),
            unsettled: BTreeSet::new(),
        });
        self.processes.len() - 1
    }

    /// Notes what a process told.
    pub(super) fn note(&mut self, index: usize, event: Event) {
        let process = &mut self.processes[index];
        match event {
            Event::Listening { address } => self.site = Some(address),
            Event::Sent { .. } => process.tasks += 1,
            Event::Started { id, deaths } => {
                process.taken_over += u32::from(deaths > 0);
                process.unsettled.insert(id.clone());
                if let Some(killed) = self.killed.as_mut().filter(|killed| killed.process != index)
                    && (!killed.silent || killed.unsettled.contains(&id))
                    && !killed.reruns.iter().any(|rerun| rerun.id == id)
                {
                    killed.reruns.push(Rerun {
                        id: id.clone(),
                        pid: process.pid,
                        after: killed.at.elapsed(),
                    });
                }
                process.running.insert(id);
            }
            Event::Ended { id, ending, micros } => {
                process.running.remove(&id);
                process.busy += Duration::from_micros(micros);
                match ending {
                    Kind::Completed => {
                        process.tasks += 1;
                        *self.done.entry(process.role).or_default() += 1;
                    }
                    Kind::Retried => process.retries += 1,
                    Kind::Buried => self.buried += 1,
                    Kind::Other => {}
                }
            }
            Event::Settled { id } => {
                process.unsettled.remove(&id);
            }
        }
    }

    /// Notes that the director kills a process now.
    pub(super) fn kill(&mut self, index: usize) {
        let Process { running, unsettled, .. } = &self.processes[index];
        self.killed = Some(Killed {
            process: index,
            at: Instant::now(),
            running: running.clone(),
            unsettled: unsettled.clone(),
            reruns: Vec::new(),
            silent: false,
        });
    }

    /// Notes that a process has told all that it will.
    pub(super) fn end(&mut self, index: usize, end: String) {
        let process = &mut self.processes[index];
        process.end = Some(end);
        let running = std::mem::take(&mut process.running);
        if let Some(killed) = self.killed.as_mut().filter(|killed| killed.process == index) {
            killed.running = running;
            killed.unsettled = process.unsettled.clone();
            killed.reruns.retain(|rerun| killed.unsettled.contains(&rerun.id));
            killed.silent = true;
        }
    }

    /// How many tasks the processes of a role have completed.
    pub(super) fn done(&self, role: RoleName) -> u32 {
        self.done.get(&role).copied().unwrap_or(0)
    }

    /// The time that all handlers took, one after the other.
    pub(super) fn busy(&self) -> Duration {
        self.processes.iter().map(|process| process.busy).sum()
    }
}
