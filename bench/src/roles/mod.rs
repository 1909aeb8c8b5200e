//! What this program is started as: the processes that are measured.

mod call;
mod child;
mod crowd;
mod feed;
mod kills;
mod orders;
mod produce;
mod serve;
mod timed;
mod work;

use anyhow::Result;
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    call::{Call, Called, Calls, Mapped, Workers},
    child::Dying,
    crowd::Crowd,
    feed::Feed,
    kills::{Kills, Survived},
    orders::{Orders, say},
    produce::{Ask, Produce, Produced, Trickle},
    serve::Serve,
    work::{Accepted, Begun, Does, Work, Worked},
};
use crate::raw::{Echo, JetStreamRole, Raw};

/// What a process is to do, and all about it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub(crate) enum Role {
    /// Puts tasks on the queue, as fast as it can.
    Produce(Produce),
    /// Puts one task after the other on the queue, with pauses.
    Trickle(Trickle),
    /// Puts tasks on the queue at a rate, and keeps a ledger.
    Feed(Feed),
    /// Sends one task after the other, and waits for what each returns.
    Ask(Ask),
    /// Takes tasks and runs them.
    Work(Work),
    /// Takes tasks by many sessions, and settles them at once.
    Crowd(Crowd),
    /// Runs tasks as the warm child of a worker, and dies of some.
    Dying(Dying),
    /// Calls functions in the processes of a pool.
    Call(Call),
    /// Does so while they are killed.
    Kills(Kills),
    /// Does the calls of pools as a worker.
    Serve(Serve),
    /// Measures a raw limit in a folder.
    Raw {
        /// Which, and how much of it.
        raw: Raw,
        /// Where.
        folder: std::path::PathBuf,
    },
    /// The other end of a raw socket.
    Echo(Echo),
    /// One end of a raw work queue of NATS.
    JetStream(JetStreamRole),
}

/// Does what the role says, and answers on standard output.
pub(crate) fn play(role: Role) -> Result<()> {
    match role {
        Role::Raw { raw, folder } => {
            say(&"ready")?;
            std::io::stdin().read_line(&mut String::new())?;
            say(&raw.measure(&folder)?)
        }
        Role::Dying(dying) => dying.play(),
        Role::Echo(echo) => echo.play(),
        Role::Produce(produce) => orders::obey(|orders| produce.play(orders)),
        Role::Trickle(trickle) => orders::obey(|orders| trickle.play(orders)),
        Role::Feed(feed) => orders::obey(|orders| feed.play(orders)),
        Role::Ask(ask) => orders::obey(|orders| ask.play(orders)),
        Role::Work(work) => orders::obey(|orders| work.play(orders)),
        Role::Crowd(crowd) => orders::obey(|orders| crowd.play(orders)),
        Role::Call(call) => orders::obey(|orders| call.play(orders)),
        Role::Kills(kills) => orders::obey(|orders| kills.play(orders)),
        Role::Serve(serve) => orders::obey(|orders| serve.play(orders)),
        Role::JetStream(role) => orders::obey(|orders| role.play(orders)),
    }
}
