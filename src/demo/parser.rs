//! The parser: finds the films on a page and hands them on to the saver.

use manyhands::{Context, QueueName, Task, TaskError};

use super::{
    page,
    role::{Scene, patiently},
    tasks::{self, Parse, Save},
};

/// Where to work.
#[derive(Debug, clap::Args)]
pub(crate) struct StageArgs {
    /// The broker: local:, local:/path, redis://host:port or amqp://host:port. By the environment, other users of the host cannot read it
    #[arg(long, value_name = "URL", env = "MANYHANDS_BROKER", hide_env_values = true)]
    broker: String,
}

/// Parses until no more pages will come, then closes the saver's queue.
pub(crate) async fn parser_role(args: StageArgs, scene: Scene) -> anyhow::Result<()> {
    let broker = scene.session(&args.broker).await?;
    scene.work(broker.clone(), tasks::app().handle_blocking(parse), 1).await?;
    let next = QueueName::new(Save::QUEUE)?;
    patiently(|| broker.close(&next)).await?;
    Ok(())
}

fn parse(task: Parse, ctx: &Context) -> Result<(), TaskError> {
    // A page that cannot be read today cannot be read tomorrow.
    let films = page::extract(&task.html).map_err(|e| TaskError::bury(e.to_string()))?;
    films.into_iter().try_for_each(|film| ctx.then(Save { film }))
}
