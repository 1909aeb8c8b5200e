//! From links to pages: each once, no more than were asked for.

use anyhow::{Context as _, Result};
use manyhands::{Client, Context, ErrorKind, LimitKey, NewTask, TaskError, Unique};
use robotxt::Robots;
use url::Url;

use crate::{
    html::same_host,
    plan::{Plan, admission},
    tasks::{self, Found, Links, Page},
};

/// How many links a task hands on itself: a settlement carries 256 tasks at most.
const CHUNK: usize = 200;

/// The longest URL that is followed: what a unique key can hold. Longer ones are seldom pages.
const MAX_URL: usize = 1024;

/// Which links are followed.
#[derive(Debug)]
pub(crate) struct Follow {
    pub(crate) plan: Plan,
    pub(crate) rules: Robots,
}

impl Follow {
    /// Hands on the links of a page of this depth that are to be followed, if need be by tasks that hand on some each.
    pub(crate) fn follow(&self, links: &[Url], depth: u32, ctx: &Context) -> Result<(), TaskError> {
        if self.plan.depth.is_some_and(|limit| depth >= limit) {
            return Ok(());
        }
        let links: Vec<_> = links.iter().filter(|link| self.wants(link)).cloned().collect();
        if links.len() <= CHUNK {
            return hand_on(links, depth + 1, ctx);
        }
        links.chunks(CHUNK).try_for_each(|some| {
            let some = Links { urls: some.to_vec(), depth: depth + 1 };
            ctx.then_task(tasks::patient(&some).map_err(|e| bury(e.into()))?)
        })
    }

    fn wants(&self, link: &Url) -> bool {
        same_host(link, &self.plan.start) && self.rules.is_url_allowed(link) && link.as_str().len() <= MAX_URL
    }

    /// Admits a page that was found, if there is room for one more: then it is to be fetched.
    ///
    /// The limit is the capacity of a queue that nobody serves. To enqueue an id twice is to enqueue it once, so a page that is
    /// admitted again, by whoever runs this task after a death, is still one page.
    pub(crate) async fn admit(&self, client: &Client, found: Found, ctx: &Context) -> Result<(), TaskError> {
        match client.send_task(admission(ctx.id().clone()).map_err(bury)?).await {
            Ok(_) => ctx.then_task(self.page(found).map_err(bury)?),
            Err(error) if error.kind() == ErrorKind::Full => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The task that fetches a page, politely: its key is the host.
    fn page(&self, found: Found) -> Result<NewTask> {
        let Found { url, depth } = found;
        let host = LimitKey::new(url.host_str().context("a URL without a host")?)?;
        let queue = tasks::pages(self.plan.level(depth))?;
        let task = NewTask::of(&Page { url, depth })?.on(queue).with_key(host);
        Ok(task.with_max_attempts(self.plan.attempts))
    }
}

/// Hands on URLs that were found. One that was seen before is left out by the broker, in the very step that enqueues the others: its
/// unique key is held as long as the crawl goes on.
pub(crate) fn hand_on(urls: Vec<Url>, depth: u32, ctx: &Context) -> Result<(), TaskError> {
    urls.into_iter().try_for_each(|url| ctx.then_task(found(url, depth).map_err(bury)?))
}

/// The task for a URL that was found.
pub(crate) fn found(url: Url, depth: u32) -> Result<NewTask> {
    let unique = Unique::in_batch(url.as_str())?;
    Ok(tasks::patient(&Found { url, depth })?.with_unique(unique).in_batch(tasks::crawl()?))
}

/// What is wrong with a task will be wrong with it tomorrow.
pub(crate) fn bury(error: anyhow::Error) -> TaskError {
    TaskError::bury(format!("{error:#}"))
}
