//! What all commands have in common: the broker, and the order to end.

use std::sync::Arc;

use anyhow::{Result, ensure};
use manyhands::{Broker, BrokerUrl, Shutdown, capabilities::Control};
use tokio::signal::unix::{SignalKind, signal};

use crate::plan;

/// Where the crawl is kept.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct BrokerArg {
    /// Where the crawl is kept: local:FOLDER, or redis://HOST?namespace=NAME for the processes of many boxes. Each crawl has its own
    /// folder or namespace
    #[arg(
        long,
        value_name = "URL",
        env = "MANYHANDS_BROKER",
        hide_env_values = true,
        default_value = "local:crawl"
    )]
    pub(crate) broker: BrokerUrl,
}

impl BrokerArg {
    /// Opens a session, with a broker that can do what a crawl needs.
    pub(crate) async fn open(&self) -> Result<Arc<dyn Broker>> {
        ensure!(
            !self.broker.to_string().starts_with("memory:"),
            "memory: is for one process, and a crawl has several"
        );
        let broker = manyhands::connect(&self.broker).await?;
        let able = broker.capabilities().control == Control::Full && plan::can_keep(&*broker);
        ensure!(
            able,
            "{} has no unique keys, no limits by key and no batches, which a crawl needs: use local:FOLDER or redis://HOST",
            broker.backend()
        );
        Ok(broker)
    }
}

/// The order to end: the first SIGTERM or SIGINT lets what runs end, the second stops it.
pub(crate) fn until_signal() -> Result<Shutdown> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = Shutdown::new();
    let orders = shutdown.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if orders.is_stopping() {
                orders.abort();
            }
            orders.stop();
        }
    });
    Ok(shutdown)
}
