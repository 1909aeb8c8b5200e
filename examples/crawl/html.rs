//! What is on a page: its title and its links.

use std::{collections::HashSet, sync::LazyLock};

use scraper::{Html, Selector};
use url::Url;

/// How many links of a page count, and how many bytes of them: what a task can be told, and can hand on.
const MAX_LINKS: (usize, usize) = (10_000, 700 * 1024);

/// How many characters of a title count.
const MAX_TITLE: usize = 1000;

#[expect(clippy::unwrap_used, reason = "the selectors are right, or no test passes")]
static SELECTORS: LazyLock<[Selector; 3]> = LazyLock::new(|| {
    ["title", "base[href]", "a[href], area[href]"].map(|text| Selector::parse(text).unwrap())
});

/// What is on a page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) title: Option<String>,
    /// Where its links lead to, each once, in their order.
    pub(crate) links: Vec<Url>,
    /// How many more there are.
    pub(crate) left_out: usize,
}

/// Reads a page: it computes, so it is for a thread of its own.
pub(crate) fn read(url: &Url, html: &str) -> Content {
    let [title, base, links] = &*SELECTORS;
    let document = Html::parse_document(html);
    let title = document.select(title).next().map(|title| {
        let text: String = title.text().collect();
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MAX_TITLE).collect()
    });
    let base = document.select(base).find_map(|base| url.join(base.attr("href")?).ok());
    let base = base.as_ref().unwrap_or(url);
    let mut seen = HashSet::new();
    let found = document.select(links).filter_map(|link| normal(base.join(link.attr("href")?).ok()?));
    let mut links: Vec<_> = found.filter(|link| seen.insert(link.clone())).collect();
    let (all, mut bytes) = (links.len(), 0);
    let fits = |link: &&Url| {
        bytes += link.as_str().len() + 3;
        bytes <= MAX_LINKS.1
    };
    links.truncate(links.iter().take(MAX_LINKS.0).take_while(fits).count());
    Content { title, left_out: all - links.len(), links }
}

/// The one form of a URL that stands for a page: without a fragment, a user and a password. `None` if it stands for none.
pub(crate) fn normal(mut url: Url) -> Option<Url> {
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    url.set_fragment(None);
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url)
}

/// Whether two URLs are of the same host: of the same port too, where one is given, over HTTP or HTTPS.
pub(crate) fn same_host(one: &Url, other: &Url) -> bool {
    (one.host(), one.port()) == (other.host(), other.port())
}
