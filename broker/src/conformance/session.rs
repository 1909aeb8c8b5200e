//! Sessions that are rebuilt, and what a broker says of how it is set up.

use super::{Outcome, Stage, area, holds, same, support::*};
use crate::Verdict;

area!("session": one_that_is_rebuilt_goes_on, what_is_found_wrong_is_said_with_what_to_do);

async fn one_that_is_rebuilt_goes_on(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let before = a.incarnation();
    enqueue(&*a, &q, &["1"]).await?;
    a.rebuild().await;
    enqueue(&*a, &q, &["2"]).await?;
    a.rebuild().await;
    for name in ["1", "2"] {
        let task = claim_soon(&*a, &q).await?;
        same!(names(std::slice::from_ref(&task)), [name], "a task that came before the session was rebuilt");
        settle(&*a, &task, complete()).await?;
        a.rebuild().await;
    }
    same!(counts(&*a, &q).await?, (0, 0, 0, 0), "the queue in the end");
    same!(a.incarnation(), before, "who the session is");
    Ok(())
}

async fn what_is_found_wrong_is_said_with_what_to_do(stage: &dyn Stage) -> Outcome {
    let a = stage.session().await?;
    let Some(doctor) = a.doctor() else { return Ok(()) };
    let checks = doctor.examine().await?;
    holds!(!checks.is_empty(), "nothing was looked at");
    for check in checks {
        holds!(!check.found.is_empty(), "nothing is said of {check:?}");
        same!(
            check.advice.is_none(),
            check.verdict == Verdict::Ok,
            "whether nothing is to be done: {check:?}"
        );
    }
    Ok(())
}
