//! What a server is set up as, and how it is.

mod exam;
mod facts;
mod management;
mod nodes;
mod policies;
mod queues;
mod times;

use std::sync::Arc;

use async_trait::async_trait;

use self::exam::Exam;
use super::{RabbitMqBroker, link::Link};
use crate::{Check, Doctor, Result};

#[async_trait]
impl Doctor for RabbitMqBroker {
    async fn examine(&self) -> Result<Vec<Check>> {
        self.on_thread("doctor", examine).await
    }
}

async fn examine(link: Arc<Link>) -> Result<Vec<Check>> {
    let mut exam = Exam::begin(&link).await?;
    let greeted = link.dialer.version().await;
    let mut checks = vec![facts::version(greeted.as_ref())];
    let version = greeted.as_ref().ok();
    let (alarm, calls) = times::checks(&link).await?;
    checks.extend(alarm);
    let (queues, planned) = queues::checks(&mut exam, &link.names, version).await?;
    exam.end().await;
    checks.extend(queues);
    let told = management::ask(&link.config, &link.names.prefix()).await;
    if let Ok(told) = &told {
        let queues = told.queues.as_deref().unwrap_or_default();
        if told.queues.is_ok() {
            checks.extend(policies::checks(&planned.iter().collect::<Vec<_>>(), queues));
        }
        checks.extend(told.flags.as_ref().ok().and_then(|flags| nodes::flags(version, flags)));
        if let Ok(of) = &told.nodes {
            checks.push(nodes::cluster(of, queues));
            checks.extend(nodes::room(of));
        }
    }
    checks.push(facts::timeout(version, link.config.consumer_timeout()));
    checks.extend(calls);
    checks.push(management::check(&told));
    Ok(checks)
}
