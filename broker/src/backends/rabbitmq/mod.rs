//! `amqp://` — queues in a RabbitMQ server (3.10 and up), shared by the processes of many boxes.
//!
//! The tasks of a queue lie in a quorum queue, or in one for each priority; dead ones in another. A lease is an unacknowledged
//! delivery: it ends with the connection, so a dead process is noticed at once. What changes a task publishes a fresh copy, waits
//! for the confirm, and acknowledges the old one; a death in between doubles the task and never loses it. What RabbitMQ cannot
//! store in a queue of tasks (which queues there are, their options, which are closed) is the *directory*: a document in
//! a queue of one message, announced to all sessions when it changes. What nobody stores (who holds how many tasks) is
//! asked of the live sessions.

mod arrival;
mod ask;
mod broker;
mod calls;
mod claim;
mod class;
mod config;
mod consume;
mod dead;
mod dial;
mod difference;
mod directory;
mod doctor;
mod enqueue;
mod error;
mod greeting;
mod holders;
mod intake;
mod lanes;
mod line;
mod link;
mod live;
mod looking;
mod message;
mod names;
mod news;
mod plan;
mod publish;
mod register;
mod replies;
mod run_time;
mod session;
mod settle;
mod tags;
mod tls;
mod topology;
mod waiters;
mod waiting;
mod workers;

pub use config::RabbitMqConfig;
pub use session::RabbitMqBroker;
