//! What there is to be said of a queue in the memory of a process.

use async_trait::async_trait;

use super::MemoryBroker;
use crate::{Check, Doctor, Result};

#[async_trait]
impl Doctor for MemoryBroker {
    async fn examine(&self) -> Result<Vec<Check>> {
        let found = "tasks are in the memory of this process, and gone with it";
        Ok(vec![Check::warn("persistence", found, "local:, redis:// or amqp:// for what must not be lost")])
    }
}
