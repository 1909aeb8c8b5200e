//! The claims of a worker that has nothing to do: committed by who asks, on its own thread.
//!
//! Through the writer's thread each would be two wake-ups: of that thread, and back. Who is idle keeps no handler waiting while it
//! commits, so it can do that itself, over a second connection, if it need not wait for anything: neither for the turn nor for a
//! lock. If it would, the claim goes the usual way.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use rusqlite::Connection;

use super::{
    LocalConfig, database, error::sqlite, prepared::Prepared, steps::Steps, transaction::Hand, turn::Turn,
    wakeup::Bell,
};
use crate::{
    Claim, ClaimReply, Incarnation, Result,
    crash::{Point, at},
};

/// What the first idle claim opens: who only sends has no use for it. `None` after that where it cannot be opened.
#[derive(Debug)]
pub(super) struct Direct {
    config: LocalConfig,
    bell: Arc<Bell>,
    opened: OnceLock<Option<Mutex<Way>>>,
}

/// The connection, and a turn of its own: the thread that writes is another one who waits.
#[derive(Debug)]
struct Way {
    connection: Connection,
    turn: Turn,
}

impl Direct {
    pub(super) fn new(config: LocalConfig, bell: Arc<Bell>) -> Self {
        Self { config, bell, opened: OnceLock::new() }
    }

    /// Claims, if that needs no waiting; `None` where it does, or anything failed: then nothing is claimed.
    pub(super) fn claim(&self, claim: &Claim, incarnation: Incarnation) -> Option<ClaimReply> {
        let way = self.opened.get_or_init(|| self.open()).as_ref()?;
        let way = match way.try_lock() {
            Ok(way) => way,
            Err(std::sync::TryLockError::Poisoned(way)) => PoisonError::into_inner(way),
            Err(std::sync::TryLockError::WouldBlock) => return None,
        };
        self.claim_by(&way, claim, incarnation).unwrap_or_else(|error| {
            // The usual way will say what is wrong, if it is still.
            tracing::debug!(error = %error.report(), "a claim goes through the writer");
            None
        })
    }

    fn open(&self) -> Option<Mutex<Way>> {
        let open = || -> Result<Way> {
            let connection = database::open_again(&self.config.database(), Duration::ZERO)?;
            // A checkpoint waits for the disk: it is left to the thread that writes, by which all that is claimed is settled.
            connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(|e| sqlite("open", e))?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS);
            Ok(Way { connection, turn: Turn::open(&self.config.turn(), &self.config.line())? })
        };
        match open() {
            Ok(way) => Some(Mutex::new(way)),
            Err(error) => {
                tracing::debug!(error = %error.report(), "all claims go through the writer");
                None
            }
        }
    }

    fn claim_by(&self, way: &Way, claim: &Claim, incarnation: Incarnation) -> Result<Option<ClaimReply>> {
        let Way { connection, turn } = way;
        let failed = |e| sqlite("claim", e);
        let prepared = Prepared::cached(connection);
        let steps = Steps::new(&prepared, self.config.clock.now());
        if let Some(reply) = steps.peek(claim).map_err(failed)? {
            return Ok(Some(reply));
        }
        drop(steps);
        let Ok(Some(_turn)) = turn.try_take() else { return Ok(None) };
        let clock = &*self.config.clock;
        let hand = Hand { connection, prepared: &prepared, bell: &self.bell, clock };
        let reply = hand.write("claim", |steps| {
            let reply = steps.claim(claim, incarnation).map_err(failed)?;
            at(Point::WriterStepped);
            Ok(reply)
        })?;
        Ok(Some(reply))
    }
}

/// How many statements stay prepared: more than a claim has.
const STATEMENTS: usize = 64;
