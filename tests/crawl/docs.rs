//! The HTML that the Rust toolchain installs, crawled: what is found equals what another walk finds, whoever is killed meanwhile.

use manyhands_test_support::kill;
use url::Url;

use super::{
    crawler::{Crawl, compare},
    programs::{PATIENCE, Worker},
    site::{Docs, Site},
    walk::{Pages, walk},
};

/// The kills.
const KILLS: usize = 10;

/// The site, its first page, and what is found from there by another walk.
fn site() -> (Site, Url, Pages) {
    let docs = Docs::find();
    let site = docs.site();
    let start = site.url("/index.html");
    let pages = walk(&start, u64::MAX, |path| docs.is_open(path));
    assert!(pages.len() > 300, "only {} pages", pages.len());
    (site, start, pages)
}

#[test]
fn all_pages_are_found_that_another_walk_finds() {
    let (site, start, walked) = site();
    let asked = site.pages().len();
    let crawl = Crawl::new();
    compare(&crawl.whole(&start, &[]), &walked, false);
    let mut pages = site.pages().split_off(asked);
    pages.sort();
    let all = pages.len();
    pages.dedup();
    assert_eq!((pages.len(), all), (walked.len(), walked.len()), "each was asked for once");
    assert_eq!(site.robots(), 1);
    crawl.place.fsck();
}

/// Each worker is killed while it waits for a page, so while it has a task; and the saver, while it has written some.
#[test]
fn after_ten_kills_they_are_the_same() {
    let (site, start, walked) = site();
    let before = site.pages().len();
    let crawl = Crawl::new();
    crawl.start(&start, &[]);
    let mut workers = vec![crawl.worker(), crawl.worker()];
    let mut saver = crawl.saver();
    for number in 1..=KILLS {
        let held = site.catch(before + walked.len() * number / (KILLS + 2));
        let holder = held.holder(workers.iter().map(Worker::pid));
        kill::kill(holder).unwrap();
        workers.retain(|worker| worker.pid() != holder);
        workers.push(crawl.worker());
        if [3, 6].contains(&number) {
            until_more_is_written(&crawl);
            kill::kill(saver.pid()).unwrap();
            saver = crawl.saver();
        }
    }
    crawl.end(workers, saver);
    compare(&crawl.lines(), &walked, false);
    assert!(
        site.pages().len() - before >= walked.len() + KILLS,
        "what the killed ones waited for is fetched again"
    );
    crawl.place.fsck();
}

/// Waits until the file grows, while the saver is at work.
fn until_more_is_written(crawl: &Crawl) {
    let (before, patience) = (crawl.written(), std::time::Instant::now() + PATIENCE);
    while crawl.written() == before {
        assert!(std::time::Instant::now() < patience, "nothing more is written");
        std::thread::yield_now();
    }
}

/// One level after the other: else pages would be missing now and then.
#[test]
fn pages_are_found_up_to_a_depth() {
    let docs = Docs::find();
    let site = docs.site();
    let start = site.url("/index.html");
    let mut walked = walk(&start, u64::MAX, |path| docs.is_open(path));
    let (all, within) =
        (walked.len(), |depth: u64| walked.values().filter(|page| page.depth <= depth).count());
    let depth = (1..).find(|depth| within(*depth) > 50).unwrap();
    walked.retain(|_, page| page.depth <= depth);
    assert!(walked.len() < all, "deeper than {depth} are more");
    let crawl = Crawl::new();
    compare(&crawl.whole(&start, &["--depth", &depth.to_string()]), &walked, true);
    crawl.place.fsck();
}

/// All of the standard library: thousands of pages, some with thousands of links.
#[test]
fn long_all_pages_of_std_are_found_that_another_walk_finds() {
    if std::env::var_os("MANYHANDS_TEST_LONG").is_none() {
        return;
    }
    let (docs, start) = Docs::find().largest();
    let site = docs.site();
    let start = site.url(&start);
    let walked = walk(&start, u64::MAX, |path| docs.is_open(path));
    println!("{} pages", walked.len());
    compare(&Crawl::new().whole(&start, &["--pages", "10000"]), &walked, false);
}
