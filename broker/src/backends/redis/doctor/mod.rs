//! What a server is set up as, and how it is.

mod facts;
mod place;
mod times;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;

use super::{RedisBroker, info::Info};
use crate::{Check, Doctor, Result};

/// Beyond this, tasks that are put off until a time of day start noticeably wrong.
const CLOCK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

#[async_trait]
impl Doctor for RedisBroker {
    async fn examine(&self) -> Result<Vec<Check>> {
        let info = Info::new(self.ask("doctor", redis::cmd("INFO")).await?);
        let settings = self.settings().await;
        let setting = |name: &str| settings.get(name).map(String::as_str);
        let mut checks = vec![
            facts::version(&info),
            facts::eviction(&info),
            facts::persistence(&info, setting("appendfsync"), setting("save")),
            facts::memory(&info),
            facts::clients(&info, setting("maxclients")),
            facts::replication(&info, setting("min-replicas-to-write")),
        ];
        checks.extend(facts::saving(&info));
        checks.extend(self.place().await);
        checks.push(self.clock().await?);
        checks.push(self.times().await);
        Ok(checks)
    }
}

impl RedisBroker {
    /// Logs a warning where what the server is given may be gone with its process, or where that cannot be told.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn warn_if_volatile(&self) {
        let mut command = redis::cmd("INFO");
        command.arg("persistence");
        // Whoever cannot be asked is asked again by the next call, which says why.
        let Ok(info) = self.ask("connect", command).await.map(Info::new) else { return };
        if info.get("aof_enabled") == "1" {
            return;
        }
        let save = self.setting("save").await;
        if save.as_ref().is_none_or(String::is_empty) {
            let Check { found, advice, .. } = facts::persistence(&info, None, save.as_deref());
            let advice = advice.unwrap_or_default();
            tracing::warn!("redis may lose what it is given: {found}; {advice}");
        }
    }

    /// One setting, where this user may ask for it.
    async fn setting(&self, name: &str) -> Option<String> {
        let mut command = redis::cmd("CONFIG");
        command.arg("GET").arg(name);
        match self.ask::<BTreeMap<String, String>>("doctor", command).await {
            Ok(mut setting) => setting.remove(name),
            // What is not known is said where it is needed.
            Err(error) => {
                tracing::debug!(error = %error.report(), "{name} cannot be asked for");
                None
            }
        }
    }

    /// What the server is told in its configuration, as far as this user may ask.
    async fn settings(&self) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::new();
        // Older servers take one name at a time.
        for name in ["appendfsync", "save", "maxclients", "min-replicas-to-write"] {
            settings.extend(self.setting(name).await.map(|value| (name.to_owned(), value)));
        }
        settings
    }

    /// Compares the server's clock with the one here, at the middle of the time that asking took.
    async fn clock(&self) -> Result<Check> {
        let before = SystemTime::now();
        let (seconds, micros): (u64, u32) = self.ask("doctor", redis::cmd("TIME")).await?;
        let took = before.elapsed().unwrap_or_default();
        let theirs = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros.into());
        let ours = before + took / 2;
        let (off, which) = match theirs.duration_since(ours) {
            Ok(ahead) => (ahead, "ahead of"),
            Err(e) => (e.duration(), "behind"),
        };
        // Only what took longer to ask than it may differ cannot be told apart.
        let off = off.saturating_sub(took / 2);
        let found = format!("the server's clock is {:.1} s {which} the one here", off.as_secs_f64());
        let advice =
            "set both by NTP: the time in --at is this box's, and leases and delays go by the server's";
        Ok(match off {
            off if off > CLOCK.1 => Check::bad("clock", found, advice),
            off if off > CLOCK.0 => Check::warn("clock", found, advice),
            _ => Check::ok("clock", "the server's clock agrees with the one here"),
        })
    }
}
