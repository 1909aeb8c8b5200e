//! Queues and their options.

use std::time::Duration;

use super::{Outcome, Stage, area, holds, same, support::*};
use crate::{ErrorKind, QueueOptions};

area!("declare": creates_with_defaults, configures_once, a_different_configuration_is_refused, use_comes_before_configuration, bad_options_are_refused, remembering_ids_is_an_option if REMEMBERS, remembering_ids_is_refused_where_it_cannot_be if FORGETS);

async fn creates_with_defaults(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    same!(a.status(&q).await?, None, "a queue before it is declared");
    let status = a.declare(&q, None).await?;
    same!(status.options, QueueOptions::default(), "options of a queue that is only used");
    same!((status.revision, status.closed, status.unsettled(), status.dead), (1, false, 0, 0), "a new queue");
    same!(a.status(&q).await?, Some(status), "the status told after it was declared");
    Ok(())
}

async fn configures_once(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let options = QueueOptions::default().with_capacity(3);
    let first = a.declare(&q, Some(&options)).await?;
    same!(first.options, options, "options given to a new queue");
    same!(b.declare(&q, Some(&options)).await?, first, "the same options again, from elsewhere");
    same!(b.declare(&q, None).await?, first, "taken as it is");
    Ok(())
}

async fn a_different_configuration_is_refused(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let stored = a.declare(&q, Some(&QueueOptions::default().with_capacity(11))).await?;
    let other = QueueOptions::default().with_capacity(12);
    let error = refused(a.declare(&q, Some(&other)).await, ErrorKind::Conflict)?.to_string();
    holds!(
        error.contains("11") && error.contains("12") && error.contains("\"q\""),
        "both values and the queue in: {error}"
    );
    same!(a.status(&q).await?, Some(stored), "the queue after the refusal");
    Ok(())
}

async fn use_comes_before_configuration(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let status = a.declare(&q, Some(&QueueOptions::default().with_capacity(7))).await?;
    same!(
        (status.options.capacity, status.revision, status.ready),
        (7, 2, 1),
        "a used queue that is then configured"
    );
    refused(a.declare(&q, Some(&QueueOptions::default())).await, ErrorKind::Conflict)?;
    Ok(())
}

async fn bad_options_are_refused(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    for bad in [QueueOptions::default().with_capacity(0), QueueOptions::default().with_capacity(u64::MAX)] {
        refused(a.declare(&q, Some(&bad)).await, ErrorKind::Invalid)?;
    }
    same!(a.status(&q).await?, None, "the queue after the refusals");
    Ok(())
}

async fn remembering_ids_is_an_option(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let options = QueueOptions::default().with_remember_ids(Duration::from_secs(5));
    same!(a.declare(&q, Some(&options)).await?.options, options, "options given to a new queue");
    Ok(())
}

async fn remembering_ids_is_refused_where_it_cannot_be(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let options = QueueOptions::default().with_remember_ids(Duration::from_secs(5));
    refused(a.declare(&q, Some(&options)).await, ErrorKind::Unsupported)?;
    same!(a.status(&q).await?, None, "the queue after the refusal");
    Ok(())
}
