//! The parser: finds the films on a page and hands them on to the saver.

use manyhands::{Context, QueueName, Task, TaskError};

use super::{
    page,
    role::{BrokerArgs, Scene, StayArgs, patiently},
    tasks::{self, Parse, Save},
};

/// Where to work.
#[derive(Debug, clap::Args)]
pub(crate) struct ParserArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    end: StayArgs,
}

/// Parses until no more pages will come, then closes the saver's queue.
pub(crate) async fn parser_role(args: ParserArgs, scene: Scene) -> anyhow::Result<()> {
    let broker = scene.session(&args.broker).await?;
    let app = || tasks::app().handle_blocking(parse);
    scene.work(broker.clone(), app(), 1).await?;
    let next = QueueName::new(Save::QUEUE)?;
    patiently(|| broker.close(&next)).await?;
    if args.end.stay { scene.stay(broker, app(), 1).await } else { Ok(()) }
}

fn parse(task: Parse, ctx: &Context) -> Result<(), TaskError> {
    // A page that cannot be read today cannot be read tomorrow.
    let films = page::extract(&task.html).map_err(|e| TaskError::bury(e.to_string()))?;
    films.into_iter().try_for_each(|film| ctx.then(Save { film }))
}
