//! Sentinels: they watch a master and its replicas, and say who is the master.

use std::{
    collections::BTreeMap,
    sync::{Weak, atomic::Ordering},
    time::Duration,
};

use redis::{ConnectionAddr, RedisResult, aio::MultiplexedConnection};

use super::{
    dial::Line,
    error,
    link::{ANSWER, Link},
    place::{PAUSE, Place, Places, TRIES, Way},
};
use crate::{Error, ErrorKind, Result};

/// How often a Sentinel is asked whether the master is still the master. One that was replaced and does not know goes on taking tasks, which are
/// lost: this bounds for how long.
const FOLLOW: Duration = Duration::from_secs(1);

/// What a Sentinel says of a master.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    host: String,
    port: u16,
    /// Counts the failovers that were agreed on: who knows of fewer may name a master that was replaced.
    configuration: u64,
}

/// A Sentinel that led to a master.
#[derive(Clone)]
pub(super) struct Guide {
    connection: MultiplexedConnection,
    pub(super) sentinel: ConnectionAddr,
    /// The master's name.
    pub(super) name: String,
    told: Told,
}

impl Guide {
    /// Asks it where the master is. `None` if it does not know the name.
    async fn ask(&mut self) -> RedisResult<Option<Told>> {
        let mut ask = redis::pipe();
        // It answers both at once, so that they belong together.
        ask.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        ask.cmd("SENTINEL").arg("MASTER").arg(&self.name);
        type Answers = (Option<(String, u16)>, BTreeMap<String, String>);
        match ask.query_async::<Answers>(&mut self.connection).await {
            Ok((place, facts)) => {
                let configuration =
                    facts.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
                Ok(place.map(|(host, port)| Told { host, port, configuration }))
            }
            Err(e) if e.to_string().contains("No such master") => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// What it knows of the master, by name: `num-slaves`, `quorum`, `num-other-sentinels`.
    pub(super) async fn facts(&mut self) -> RedisResult<BTreeMap<String, String>> {
        let ask = redis::cmd("SENTINEL").arg("MASTER").arg(&self.name).clone();
        ask.query_async(&mut self.connection).await
    }

    /// Whether enough Sentinels can be reached for a failover; what it says if not.
    pub(super) async fn quorum(&mut self) -> RedisResult<Result<(), String>> {
        let ask = redis::cmd("SENTINEL").arg("CKQUORUM").arg(&self.name).clone();
        match ask.query_async::<String>(&mut self.connection).await {
            Ok(_) => Ok(Ok(())),
            Err(e) if e.code() == Some("NOQUORUM") => Ok(Err(e.detail().unwrap_or_default().to_owned())),
            Err(e) => Err(e),
        }
    }
}

impl Places {
    /// Goes on to the master that a Sentinel names.
    pub(super) async fn by_sentinel(
        &self,
        operation: &'static str,
        line: Line,
        patience: Duration,
    ) -> Result<Place> {
        let mut guide = self.guide(operation, line).await?;
        let mut tries = 1;
        loop {
            let server = self.dialer.address(&guide.told.host, guide.told.port);
            let Guide { sentinel, name, .. } = &guide;
            let said = format!("the sentinel {sentinel} says that the master \"{name}\" is at {server}");
            let line = self.reach(operation, &server, patience).await.map_err(|e| error::within(&said, e))?;
            // It may have been made one this moment, or not know yet that it was.
            if line.info.is_replica() && tries < TRIES {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
                self.ask(operation, &mut guide).await?;
                continue;
            }
            let line = self.primary(operation, line).await.map_err(|e| error::within(&said, e))?;
            let _ = self.master.set(guide.name.clone());
            return Ok(Place { line, way: Way::Sentinel(guide) });
        }
    }

    /// Asks a Sentinel where the master is.
    async fn guide(&self, operation: &'static str, mut line: Line) -> Result<Guide> {
        let name = match self.master.get() {
            Some(name) => name.clone(),
            None => {
                let watched = masters(operation, &mut line.connection).await?;
                only(operation, &line.server, watched)?
            }
        };
        let Line { connection, server: sentinel, .. } = line;
        let mut guide = Guide { connection, sentinel, name, told: Told::default() };
        self.ask(operation, &mut guide).await?;
        Ok(guide)
    }

    /// Asks a Sentinel again. One that knows less than another one did is not believed: tasks that its master takes would be lost.
    async fn ask(&self, operation: &'static str, guide: &mut Guide) -> Result<()> {
        let told = guide.ask().await.map_err(|e| error::connecting(operation, &e))?;
        let Some(told) = told else {
            let watched = masters(operation, &mut guide.connection).await?;
            return Err(unknown(operation, guide, &watched));
        };
        let known = self.configuration.fetch_max(told.configuration, Ordering::Relaxed);
        if told.configuration < known {
            return Err(outdated(operation, guide, told.configuration, known));
        }
        guide.told = told;
        Ok(())
    }
}

/// The names of the masters that a Sentinel watches.
async fn masters(operation: &'static str, sentinel: &mut MultiplexedConnection) -> Result<Vec<String>> {
    let ask = redis::cmd("SENTINEL").arg("MASTERS").clone();
    let all = ask.query_async::<Vec<BTreeMap<String, String>>>(sentinel).await;
    let all = all.map_err(|e| error::connecting(operation, &e))?;
    Ok(all.into_iter().filter_map(|mut master| master.remove("name")).collect())
}

/// The only one of these; several must be chosen from.
fn only(operation: &'static str, sentinel: &ConnectionAddr, mut watched: Vec<String>) -> Result<String> {
    match (watched.pop(), watched.first()) {
        (Some(name), None) => Ok(name),
        (None, _) => Err(Error::invalid(operation, format!("the sentinel {sentinel} watches no master"))
            .advise("redis-cli -p PORT sentinel monitor NAME HOST PORT QUORUM")),
        (Some(last), Some(first)) => {
            let advice = format!("?master={first}");
            watched.push(last);
            watched.sort_unstable();
            let message = format!("the sentinel {sentinel} watches several masters: {}", watched.join(", "));
            Err(Error::invalid(operation, message).advise(advice))
        }
    }
}

fn unknown(operation: &'static str, guide: &Guide, watched: &[String]) -> Error {
    let Guide { sentinel, name, .. } = guide;
    let others = if watched.is_empty() { "none".to_owned() } else { watched.join(", ") };
    let message =
        format!("the sentinel {sentinel} watches no master \"{name}\"; those that it watches: {others}");
    let advice = watched.first().map_or("?master=NAME".to_owned(), |name| format!("?master={name}"));
    Error::invalid(operation, message).advise(advice)
}

fn outdated(operation: &'static str, guide: &Guide, told: u64, known: u64) -> Error {
    let Guide { sentinel, name, .. } = guide;
    let message = format!(
        "the sentinel {sentinel} does not know yet who is the master \"{name}\": it knows configuration {told}, and another one told {known}"
    );
    Error::new(ErrorKind::Unavailable, operation, message)
        .advise("wait, or see why it is cut off from the others; if all sentinels were set up anew, start this program again")
}

/// Leaves a master when a Sentinel says that another one took its place: it may be there still, and take what nobody will ever see.
pub(super) async fn follow(link: Weak<Link>) {
    loop {
        tokio::time::sleep(FOLLOW).await;
        let Some(link) = link.upgrade() else { return };
        let (number, Way::Sentinel(mut guide)) = link.way().await else { continue };
        let followed = guide.told.clone();
        let asked = tokio::time::timeout(ANSWER, link.places().ask("connect", &mut guide)).await;
        if !matches!(asked, Ok(Ok(()))) {
            // That one is gone, or cut off, and another one may know.
            let Some(line) = link.places().sentinel("connect").await else { continue };
            (guide.connection, guide.sentinel) = (line.connection, line.server);
            let asked = tokio::time::timeout(ANSWER, link.places().ask("connect", &mut guide)).await;
            if !matches!(asked, Ok(Ok(()))) {
                link.places().next();
                continue;
            }
            link.guided(number, Guide { told: followed.clone(), ..guide.clone() }).await;
        }
        let Told { host, port, .. } = &guide.told;
        if (host, port) != (&followed.host, &followed.port) {
            tracing::info!(master = guide.name, "the master is now at {host}:{port}");
            link.tear_down(number).await;
        }
    }
}
