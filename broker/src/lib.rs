//! The broker contract of manyhands: what a queue promises, whatever stores it.
//!
//! Three things live here, from the inside out:
//!
//! * [`machine`]: the state machine of tasks, written down once as a deterministic function over plain data.
//!   It performs no I/O and reads no clock.
//! * [`Broker`]: the contract that backends implement, and [`BrokerExt`], what users call on top of it.
//! * [`backends`]: `memory` (the machine behind a mutex), `local` (SQLite, many processes of one box), `redis` and
//!   `rabbitmq` (many boxes).
//!
//! [`connect`] opens a broker by its URL. `conformance` (a feature) is the suite that every backend passes.
//!
//! This crate reads no environment, prints nothing and never ends the process.

#[cfg(windows)]
compile_error!("manyhands runs on Linux and macOS; Windows has neither flock nor the signals it needs");

pub mod backends;
mod batch;
pub mod capabilities;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod connect;
mod contract;
#[doc(hidden)]
pub mod crash;
mod dead;
mod doctor;
mod durability;
mod duration;
mod error;
mod ext;
mod fsck;
mod guard;
mod holder;
mod id;
mod key;
mod lease;
pub mod limits;
mod lookup;
pub mod machine;
mod name;
mod outcome;
mod payload;
mod queue;
#[doc(hidden)]
pub mod sabotage;
mod settlement;
mod task;
mod token;
mod typed;
mod unique;
mod url;
mod why;
mod workers;

pub use batch::BatchStatus;
pub use capabilities::Capabilities;
pub use connect::{connect, connect_to_examine};
pub use contract::{Beaten, Broker, Claim, ClaimReply, Enqueued, Interest, OutcomeWaiter, Settled, Waiter};
pub use dead::{DeadLetters, DeadTask, Failure, Revived};
pub use doctor::{Check, Doctor, Verdict};
pub use durability::Durability;
pub use duration::{read_duration, write_duration};
pub use error::{Error, ErrorKind, Result};
pub use ext::BrokerExt;
pub use fsck::{Finding, Fsck, Report};
pub use guard::Guard;
pub use holder::Holder;
pub use id::{Incarnation, TaskId};
pub use key::{LimitKey, UniqueKey};
pub use lease::{Beat, ClaimedTask, Lease};
pub use lookup::{Lookup, Mark, Standing, State, TaskDetail, TaskInfo, TaskPage};
pub use name::{BatchName, Namespace, QueueName, TaskName};
pub use outcome::{Cancel, Outcome};
pub use payload::Payload;
pub use queue::{Order, Pause, QueueOptions, QueueStatus};
pub use settlement::{End, Settlement};
pub use task::{NewTask, Start, Wanted};
pub use token::Token;
pub use typed::Task;
pub use unique::{Hold, Unique};
pub use url::{BrokerUrl, Identity, Place, Secret, ServerOptions, ServerUrl};
pub use why::{Ahead, Why};
pub use workers::{LastClaim, LiveWorker, Request, RunningTask, WorkerReport, Workers, all_live};
