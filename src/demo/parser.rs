//! The parser: finds the films on a page and hands them on to the saver.

use manyhands::{Context, QueueName, Task, TaskError};

use super::{
    page,
    role::{session, work},
    tasks::{self, Parse, Save},
};

/// Where to work.
#[derive(Debug, clap::Args)]
pub(crate) struct StageArgs {
    /// By the environment, where other users cannot read it as they can read arguments.
    #[arg(long, env = "MANYHANDS_BROKER", hide_env_values = true)]
    broker: String,
}

/// Parses until no more pages will come, then closes the saver's queue.
pub(crate) async fn parser_role(args: StageArgs) -> anyhow::Result<()> {
    let broker = session(&args.broker).await?;
    work(broker.clone(), tasks::app().handle_blocking(parse), 1).await?;
    broker.close(&QueueName::new(Save::QUEUE)?).await?;
    Ok(())
}

fn parse(task: Parse, ctx: &Context) -> Result<(), TaskError> {
    // A page that cannot be read today cannot be read tomorrow.
    let films = page::extract(&task.html).map_err(|e| TaskError::bury(e.to_string()))?;
    films.into_iter().try_for_each(|film| ctx.then(Save { film }))
}
