//! Fetches one page: what is on it goes to the saver, its links are followed, and that is one step.

use anyhow::Result;
use manyhands::{Context, NewTask, TaskError};
use url::Url;

use crate::{
    fetch::{Answer, Body, Http},
    follow::{Follow, bury},
    html::{self, Content, normal},
    tasks::{self, Page, Save},
};

/// Answers that may be other ones soon.
const PASSING: [u16; 7] = [408, 425, 429, 500, 502, 503, 504];

/// Fetches one page. One that cannot be fetched is tried again, later each time, and after the last time saved as such.
pub(crate) async fn page(http: Http, follow: &Follow, task: Page, ctx: Context) -> Result<(), TaskError> {
    let Page { url, depth } = task;
    let last = ctx.attempt() >= follow.plan.attempts;
    let (save, links) = match http.page(&url).await {
        Ok(answer) if PASSING.contains(&answer.status) && !last => {
            let error = TaskError::retry(format!("{url} answered {}", answer.status));
            return Err(match answer.retry_after {
                Some(wait) => error.after(wait),
                None => error,
            });
        }
        Ok(answer) => read(url, depth, answer).await?,
        Err(error) if last => {
            let error = Some(format!("{error:#}"));
            (Save { url: url.into(), depth, error, ..Save::default() }, Vec::new())
        }
        Err(error) => return Err(TaskError::retry(format!("{error:#}"))),
    };
    eprintln!("{} {}", save.status.map_or("---".to_owned(), |status| status.to_string()), save.url);
    ctx.then_task(line(&save).map_err(bury)?)?;
    follow.follow(&links, depth, &ctx)
}

/// What is to be saved of an answer, and the links to be followed.
async fn read(url: Url, depth: u32, answer: Answer) -> Result<(Save, Vec<Url>), TaskError> {
    let Answer { status, content_type, location, body, .. } = answer;
    let mut save =
        Save { url: url.to_string(), depth, status: Some(status), content_type, ..Save::default() };
    let links = match body {
        Body::Html(text) => {
            // Reading is computing: not on the threads that wait for answers.
            let content = tokio::task::spawn_blocking(move || html::read(&url, &text)).await?;
            let Content { title, links, left_out } = content;
            (save.title, save.links, save.links_left_out) = (title, links.clone(), left_out);
            links
        }
        Body::Wrong(why) => {
            save.error = Some(why);
            Vec::new()
        }
        // A redirect is a page with one link. So it counts, and one that leads back has been seen.
        Body::Other if (300..400).contains(&status) => {
            let to = location.and_then(|to| normal(url.join(&to).ok()?));
            save.redirect = to.as_ref().map(Url::to_string);
            to.into_iter().collect()
        }
        Body::Other => Vec::new(),
    };
    Ok((save, links))
}

/// The task that saves. In another batch than the crawl, which has ended when all is found.
fn line(save: &Save) -> Result<NewTask> {
    Ok(tasks::patient(save)?.in_batch(tasks::saved()?))
}
