//! Depth, pages and politeness, with many workers.

use std::{collections::BTreeSet, time::Duration};

use super::{
    crawler::Crawl,
    site::{Reply, Site},
};

/// A page with these links.
fn page(links: impl IntoIterator<Item = impl AsRef<str>>) -> Reply {
    let links: String = links.into_iter().map(|to| format!("<a href=\"{}\">x</a>", to.as_ref())).collect();
    Reply::html(format!("<title>page</title>{links}"))
}

/// From page n, links lead to 2n and 2n + 1, without an end.
fn endless(path: &str) -> Reply {
    match path.trim_start_matches('/').parse::<u64>() {
        Ok(number) => page([format!("/{}", 2 * number), format!("/{}", 2 * number + 1)]),
        Err(_) => Reply::new(404, ""),
    }
}

#[test]
fn no_more_pages_are_fetched_than_were_asked_for() {
    let site = Site::new(|path, _| endless(path));
    let crawl = Crawl::new();
    let lines = crawl.whole(&site.url("/1"), &["--pages", "77"]);
    let asked = site.pages();
    assert_eq!((asked.len(), asked.iter().collect::<BTreeSet<_>>().len()), (77, 77));
    assert_eq!(lines.len(), 77);
    crawl.place.fsck();
}

/// Page 1 leads to page 4 by a long way that is quick, and by a short one that is slow: it waits until the others have been asked for.
#[test]
fn a_slow_short_way_counts_before_a_quick_long_one() {
    let site = Site::new(|path, times| match path {
        "/1" => page(["/slow", "/2"]),
        "/2" => page(["/3"]),
        "/3" => page(["/4"]),
        // Fails at first, and is tried again a second later.
        "/slow" if times == 1 => Reply::new(503, ""),
        "/slow" => page(["/4"]),
        "/4" => page(["/5"]),
        "/5" => page(["/6"]),
        _ => Reply::new(404, ""),
    });
    let lines = Crawl::new().whole(&site.url("/1"), &["--depth", "3"]);
    let mut found: Vec<_> = lines
        .iter()
        .map(|line| {
            (line["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned(), line["depth"].as_u64())
        })
        .collect();
    found.sort();
    let expected = [("1", 0), ("2", 1), ("3", 2), ("4", 2), ("5", 3), ("slow", 1)];
    assert_eq!(found, expected.map(|(page, depth)| (page.to_owned(), Some(depth))));
}

#[test]
fn a_host_gets_no_more_requests_at_a_time_than_it_should() {
    let site = Site::slow(|path, _| match path {
        "/" => page((0..60).map(|number| format!("/{number}"))),
        "/robots.txt" => Reply::new(404, ""),
        _ => page([""; 0]),
    });
    let crawl = Crawl::new();
    crawl.start(&site.url("/"), &["--at-once", "3"]);
    let workers = [crawl.worker(), crawl.worker()];
    // The first page is alone. The next three are answered when they are all there, and none at once: a fourth would be noticed.
    let held = site.catch(0);
    site.gather(3);
    drop(held);
    crawl.end(workers, crawl.saver());
    assert_eq!((crawl.lines().len(), site.most()), (61, 3));
}

/// What the broker then keeps to is shown by its own tests.
#[test]
fn a_crawl_delay_is_kept() {
    for (robots, interval) in [
        ("User-agent: *\nCrawl-delay: 2\n", Duration::from_secs(2)),
        ("User-agent: *\nCrawl-delay: 0.5\n", Duration::from_secs(1)),
        (
            "User-agent: *\nCrawl-delay: 9\n\nUser-agent: manyhands-crawl\nCrawl-delay: 3\n",
            Duration::from_secs(3),
        ),
    ] {
        let site = Site::new(
            move |path, _| {
                if path == "/robots.txt" { Reply::new(200, robots) } else { page([""; 0]) }
            },
        );
        let crawl = Crawl::new();
        crawl.start(&site.url("/"), &["--interval", "1s", "--at-once", "4", "--depth", "1"]);
        for queue in ["pages-0", "pages-1"] {
            let options = crawl.place.status(queue).options;
            assert_eq!((options.key_limit, options.key_interval), (Some(4), interval), "{robots}");
        }
    }
}
