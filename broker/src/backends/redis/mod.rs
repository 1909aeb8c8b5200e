//! `redis://` — queues in a Redis server (6.2 and up), shared by the processes of many boxes.
//!
//! Every transition is one Lua script (`lua/`): the server runs it as one step, by its own clock. All keys of a
//! namespace share one hash tag, so that a settlement may touch several queues. What waits is woken by a subscription, and
//! claims by a script; nothing is ever popped by a blocking command, so a lost connection loses no task.

mod ahead;
mod arguments;
mod body;
mod broker;
mod client;
mod cluster;
mod config;
mod dead;
mod dial;
mod doctor;
mod error;
mod fsck;
mod give_back;
mod info;
mod keys;
mod link;
mod look;
mod lookup;
mod news;
mod place;
mod reply;
mod scripts;
mod sentinel;
mod session;
mod tls;
mod told;
mod workers;

pub use config::RedisConfig;
pub use session::RedisBroker;
