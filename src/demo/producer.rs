//! The producer: enqueues the ten pages, and says that no more will come.

use manyhands::{Client, ErrorKind, NewTask, QueueName, Task, TaskId, capabilities::Ids};

use super::{
    events::Audience,
    films::{FILMS, PAGE},
    role::{BrokerArgs, Scene, StayArgs, patiently},
    tasks::Fetch,
};

/// Where to send what.
#[derive(Debug, clap::Args)]
pub(crate) struct ProducerArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    /// The site whose pages are to be fetched
    #[arg(long, value_name = "URL")]
    site: String,
    #[command(flatten)]
    end: StayArgs,
    /// Stop after so many pages and wait to be killed
    #[arg(long, hide = true)]
    halt_after: Option<u32>,
}

/// Enqueues the pages. Under ids of their own, where the broker can remember them: then a producer that is started again
/// enqueues nothing twice. Where it cannot, some pages are fetched twice, and the saver drops what it has.
pub(crate) async fn producer_role(args: ProducerArgs, scene: Scene) -> anyhow::Result<()> {
    let client = Client::new(scene.session(&args.broker).await?);
    scene.unless_stopped(produce(&client, &args, scene.audience)).await?;
    if args.end.stay {
        scene.audience.remark("all is sent: stays until a signal");
        scene.shutdown.stopping().await;
    }
    Ok(())
}

async fn produce(client: &Client, args: &ProducerArgs, audience: Audience) -> anyhow::Result<()> {
    let remembers = client.broker().capabilities().ids == Ids::Remembered;
    for (sent, start) in (0..FILMS).step_by(PAGE as usize).enumerate() {
        if args.halt_after.is_some_and(|halt| sent >= halt as usize) {
            std::future::pending::<()>().await;
        }
        let mut page = NewTask::of(&Fetch { url: format!("{}/?start={start}", args.site) })?;
        if remembers {
            page = page.with_id(TaskId::new(&format!("page-{start}"))?);
        }
        // The same task each time: a call whose outcome is unknown is repeated, not made anew.
        match patiently(|| client.send_task(page.clone())).await {
            Ok(id) => audience.sent(id.to_string()),
            // Closed after the last page: by a producer so long ago that the ids are forgotten.
            Err(error) if error.kind() == ErrorKind::Closed => {
                audience.remark("all pages were sent before");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
    let queue = QueueName::new(Fetch::QUEUE)?;
    patiently(|| client.close(&queue)).await?;
    Ok(())
}
