//! Tasks that were sent ahead go back where nobody claims them.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    RedisBroker,
    ahead::Sent,
    arguments::{Run, Settlements},
    keys::Queues,
    link::Link,
    scripts,
};
use crate::{
    QueueName, Result,
    sabotage::{Defect, planted},
};

/// Gives back what lies here for too long, as long as the session lives.
pub(super) async fn give_back_what_lies(link: Weak<Link>) {
    let Some(shared) = link.upgrade().map(|link| Arc::clone(link.shared())) else { return };
    loop {
        let late = shared.news().ahead.overdue().await;
        let Some(link) = link.upgrade() else { return };
        tracing::debug!(tasks = late.len(), "tasks that were sent ahead go back: there is no room for them");
        give_back(&link, late).await;
    }
}

/// Releases tasks that were sent ahead and nobody claimed. If that fails, their leases run out.
async fn give_back(link: &Arc<Link>, tasks: Vec<(QueueName, Sent)>) {
    if tasks.is_empty() || planted(Defect::SentAheadStays) {
        return;
    }
    let shared = link.shared();
    let mut queues = Queues::new(shared.keys());
    let mut settlements = Settlements::new(shared.keys().channel());
    for (queue, Sent { id, epoch, .. }) in &tasks {
        let run = Run {
            queue: queues.index(queue),
            epoch: *epoch,
            incarnation: shared.incarnation(),
            how: "release",
            said: "",
            delay: Duration::ZERO,
            children: 0,
        };
        settlements.add(run, id.clone());
    }
    let (keys, arguments) = (queues.keys(), settlements.into_arguments());
    let given: Result<Vec<i64>> = link.run("withdraw", &scripts::SETTLE, &keys, &arguments).await;
    if let Err(error) = given {
        tracing::warn!(tasks = tasks.len(), error = %error.report(), "tasks that were sent ahead are held until their leases run out");
    }
}

impl RedisBroker {
    /// Has nothing more sent ahead, and gives back what was.
    ///
    /// # Errors
    /// What the call fails with; what has come by then is given back all the same.
    pub(super) async fn give_all_back(&self) -> Result<()> {
        let link = Arc::clone(self.link());
        let ahead = &self.news().ahead;
        let had = ahead.withdraw(self.incarnation);
        let withdrawn = if had.is_empty() {
            Ok(())
        } else {
            let (keys, sessions): (Vec<_>, Vec<_>) =
                had.iter().map(|(queue, session)| (self.keys.credit(queue), session.clone())).unzip();
            // Over the connection for news: what was sent before is heard before the answer.
            link.run::<i64>("withdraw", &scripts::WITHDRAW, &keys, &sessions).await.map(drop)
        };
        give_back(&link, ahead.take_all(|_| true)).await;
        withdrawn
    }
}
