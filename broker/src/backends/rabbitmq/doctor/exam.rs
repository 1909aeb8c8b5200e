//! A look at a server by connections of its own: nothing of a session is needed, so that a server is examined that lets none begin.

use std::time::{Duration, Instant};

use lapin::{
    Channel, Connection,
    options::{BasicGetOptions, BasicNackOptions},
};

use crate::{
    Result,
    backends::rabbitmq::{
        difference::{Difference, Shape, differences},
        directory::{Directory, Unreadable},
        error,
        link::Link,
        plan::Planned,
    },
};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// How long a session may hold the directory.
const HELD: Duration = Duration::from_secs(2);

/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// How many directories are read: as many as deaths left, and some.
const DIRECTORIES: usize = 10;

/// A connection for looking.
pub(super) struct Exam {
    pub(super) connection: Connection,
    channel: Channel,
}

/// How something stands that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Missing,
    /// It is there: with so many messages, and otherwise than planned so far as it may be compared.
    There {
        ready: u64,
        differences: Vec<Difference>,
    },
    /// It is there, and the server says why it cannot be used.
    OutOfReach(String),
    /// It is there, and this user may not declare it: it cannot be compared.
    Forbidden,
}

/// How the directory stands.
pub(super) enum Found {
    /// Nobody has used the namespace.
    None,
    Directory(Directory),
    Unreadable(Unreadable),
    /// It cannot be taken.
    OutOfReach(String),
}

impl Exam {
    pub(super) async fn begin(link: &Link) -> Result<Self> {
        let connection = connect(link).await?;
        let channel = within(connection.create_channel()).await?.map_err(rabbitmq)?;
        Ok(Self { connection, channel })
    }

    /// Looks for something, and compares it with what is planned.
    pub(super) async fn look(&mut self, planned: &Planned) -> Result<Seen> {
        let seen = within(planned.declare(&self.channel, Shape::LOOK)).await?;
        let ready = match seen {
            Ok(queue) => queue.map_or(0, |queue| queue.message_count().into()),
            Err(e) => {
                self.channel = within(self.connection.create_channel()).await?.map_err(rabbitmq)?;
                return match error::code(&e) {
                    404 if !error::is_down(&e) => Ok(Seen::Missing),
                    // It belongs to a connection of somebody else, of which the comparison tells.
                    error::LOCKED => self.compare(planned, 0).await,
                    403 => Ok(Seen::Forbidden),
                    404 => Ok(Seen::OutOfReach(error::Cause(e).to_string())),
                    _ => Err(rabbitmq(e)),
                };
            }
        };
        self.compare(planned, ready).await
    }

    async fn compare(&self, planned: &Planned, ready: u64) -> Result<Seen> {
        match within(differences(&self.connection, planned)).await? {
            Ok(differences) => Ok(Seen::There { ready, differences }),
            Err(e) if error::code(&e) == 403 => Ok(Seen::Forbidden),
            Err(e) if error::is_down(&e) => Ok(Seen::OutOfReach(error::Cause(e).to_string())),
            Err(e) => Err(rabbitmq(e)),
        }
    }

    /// Reads the directory, and lets the server put it back.
    pub(super) async fn directory(&mut self, planned: &Planned) -> Result<Found> {
        match within(planned.declare(&self.channel, Shape::LOOK)).await? {
            Ok(_) => {}
            Err(e) => {
                self.channel = within(self.connection.create_channel()).await?.map_err(rabbitmq)?;
                return Ok(match error::code(&e) {
                    404 if !error::is_down(&e) => Found::None,
                    _ => Found::OutOfReach(error::Cause(e).to_string()),
                });
            }
        }
        let began = Instant::now();
        loop {
            if let Some(found) = self.take(planned).await? {
                return Ok(found);
            }
            if began.elapsed() > HELD {
                return Ok(Found::OutOfReach("it is empty, or a session holds it and hangs".to_owned()));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn take(&self, planned: &Planned) -> Result<Option<Found>> {
        let mut found = None;
        for _ in 0..DIRECTORIES {
            let get = self.channel.basic_get(planned.name.clone(), BasicGetOptions::default());
            let Some(message) = within(get).await?.map_err(rabbitmq)? else { break };
            found = Some(match (Directory::read(&message.delivery.data), found) {
                (Ok(directory), Some(Found::Directory(mut all))) => {
                    all.merge(&directory);
                    Found::Directory(all)
                }
                (Ok(directory), None) => Found::Directory(directory),
                (Err(unreadable), _) => Found::Unreadable(unreadable),
                (_, Some(found)) => found,
            });
        }
        // All that this channel got.
        let back = BasicNackOptions { requeue: true, multiple: true };
        if found.is_some() {
            within(self.channel.basic_nack(0, back)).await?.map_err(rabbitmq)?;
        }
        Ok(found)
    }

    /// Closes the connection; what was put back is there again when this returns.
    pub(super) async fn end(self) {
        // Where the server does not answer, the heartbeats end it.
        let _ = within(self.connection.close(200, "looked".into())).await;
    }
}

/// Opens a connection.
pub(super) async fn connect(link: &Link) -> Result<Connection> {
    let name = format!("manyhands doctor {}", link.incarnation);
    link.dialer.dial_to_look("doctor", &name).await
}

/// Waits for an answer, for as long as one may take.
pub(super) async fn within<T>(call: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(ANSWER, call).await.map_err(|_| error::silent("doctor"))
}

pub(super) fn rabbitmq(error: lapin::Error) -> crate::Error {
    error::rabbitmq("doctor", &error)
}
