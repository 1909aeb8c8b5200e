//! The producer: enqueues the ten pages, and says that no more will come.

use manyhands::{Client, QueueName, Task, capabilities::Ids};

use super::{
    events::{Event, tell},
    films::{FILMS, PAGE},
    role::session,
    tasks::Fetch,
};

/// Where to send what.
#[derive(Debug, clap::Args)]
pub(crate) struct ProducerArgs {
    /// By the environment, where other users cannot read it as they can read arguments.
    #[arg(long, env = "MANYHANDS_BROKER", hide_env_values = true)]
    broker: String,
    #[arg(long)]
    site: String,
    /// Stop after so many pages and wait to be killed.
    #[arg(long)]
    halt_after: Option<u32>,
}

/// Enqueues the pages. Under ids of their own, where the broker can remember them: then a producer that is started again
/// enqueues nothing twice. Where it cannot, some pages are fetched twice, and the saver drops what it has.
pub(crate) async fn producer_role(args: ProducerArgs) -> anyhow::Result<()> {
    let client = Client::new(session(&args.broker).await?);
    let remembers = client.broker().capabilities().ids == Ids::Remembered;
    for (sent, start) in (0..FILMS).step_by(PAGE as usize).enumerate() {
        if args.halt_after.is_some_and(|halt| sent >= halt as usize) {
            std::future::pending::<()>().await;
        }
        let page = Fetch { url: format!("{}/?start={start}", args.site) };
        let sending = client.send(page);
        let id = if remembers { sending.id(&format!("page-{start}")).await? } else { sending.await? };
        tell(&Event::Sent { id: id.to_string() });
    }
    client.close(&QueueName::new(Fetch::QUEUE)?).await?;
    Ok(())
}
