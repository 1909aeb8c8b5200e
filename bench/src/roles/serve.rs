//! A worker whose functions a pool calls.

use anyhow::Result;
use manyhands::{App, Shutdown, Worker, connect};
use serde::{Deserialize, Serialize};

use super::{Orders, say};
use crate::functions;

/// Does the calls of pools, until it is killed.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Serve {
    /// The broker.
    pub(crate) broker: String,
}

impl Serve {
    pub(super) async fn play(self, _orders: Orders) -> Result<()> {
        let broker = connect(&self.broker.parse()?).await?;
        let worker = Worker::builder(broker).app(functions::register(App::new())).build()?;
        say(&"ready")?;
        worker.run(&Shutdown::new()).await?;
        Ok(())
    }
}
