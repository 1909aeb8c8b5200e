//! Another crawler, which shares nothing with the example but the form of URLs: one page after the other, over sockets, read by
//! another parser.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use html5gum::{Token, Tokenizer, emitters::default::DefaultEmitter};
use url::Url;

/// What is known of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) depth: u64,
    pub(crate) title: Option<String>,
    pub(crate) links: Vec<String>,
}

pub(crate) type Pages = BTreeMap<String, Page>;

/// All pages up to a depth that links lead to, from one on, of those with a path that will do.
pub(crate) fn walk(start: &Url, depth: u64, will_do: impl Fn(&str) -> bool) -> Pages {
    let (mut pages, mut seen) = (Pages::new(), HashSet::from([start.clone()]));
    let mut next = VecDeque::from([(start.clone(), 0)]);
    while let Some((url, far)) = next.pop_front() {
        let (page, to) = look(&url, far);
        for link in page.links.iter().chain(&to).map(|link| Url::parse(link).unwrap()) {
            let same = link.host_str() == start.host_str() && link.port() == start.port();
            if far < depth && same && will_do(link.path()) && seen.insert(link.clone()) {
                next.push_back((link, far + 1));
            }
        }
        pages.insert(url.into(), page);
    }
    pages
}

/// One page, and where it has moved to.
fn look(url: &Url, depth: u64) -> (Page, Option<String>) {
    let (head, body) = get(url);
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut page = Page { status, depth, ..Page::default() };
    if status == 200 && header("content-type").is_some_and(|kind| kind.starts_with("text/html")) {
        (page.title, page.links) = read(url, &body);
    }
    (page, header("location").map(|to| url.join(&to).unwrap().into()))
}

/// The head and the body of what is answered.
fn get(url: &Url) -> (String, String) {
    let address: SocketAddr = format!("127.0.0.1:{}", url.port().unwrap()).parse().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let target = &url[url::Position::BeforePath..];
    write!(stream, "GET {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The title and the links of a page.
fn read(url: &Url, html: &str) -> (Option<String>, Vec<String>) {
    let mut emitter = DefaultEmitter::default();
    // Else it would find tags within scripts.
    emitter.naively_switch_states(true);
    let (mut title, mut links, mut seen) = (None::<String>, Vec::new(), HashSet::new());
    let mut in_title = false;
    for Ok(token) in Tokenizer::new_with_emitter(html, emitter) {
        match token {
            Token::StartTag(tag) if *tag.name == b"title" => {
                in_title = title.is_none();
                title.get_or_insert_default();
            }
            Token::EndTag(tag) if *tag.name == b"title" => in_title = false,
            Token::String(text) if in_title => {
                title.get_or_insert_default().push_str(std::str::from_utf8(&text).unwrap());
            }
            Token::StartTag(tag) if *tag.name == b"a" => {
                let Some(to) = tag.attributes.get(b"href".as_slice()) else { continue };
                let Ok(mut to) = url.join(std::str::from_utf8(to).unwrap()) else { continue };
                to.set_fragment(None);
                if to.scheme().starts_with("http") && seen.insert(to.clone()) {
                    links.push(to.into());
                }
            }
            _ => {}
        }
    }
    (title.map(|title| title.split_whitespace().collect::<Vec<_>>().join(" ")), links)
}
