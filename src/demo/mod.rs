//! `manyhands demo`: a scraper's pipeline over separate processes, one of which may be killed.
//!
//! ```text
//! producer ─▶ fetch ─▶ 2 fetchers ─▶ parse ─▶ parser ─▶ save ─▶ saver ─▶ films.jsonl
//!                        │  (capacity 3)
//!                        ▼
//!                       site
//! ```
//!
//! Each box is a process: this executable, started with the name of its role (`producer.rs`, `fetcher.rs`, …). The
//! director (`director.rs`) only starts them and watches what they tell of themselves (`events.rs`): it has no
//! session with the broker, so it cannot enqueue, repeat or remove anything. A stage ends when its queue is closed and
//! joined, and its workers then close the next queue.
//!
//! The roles also work without a director, on as many hosts as there are: then somebody else starts them (see
//! `docker-compose.yml`), they tell what they do in words (`words.rs`), and each can be started again at any time.

mod board;
mod crew;
mod director;
mod events;
mod fetch;
mod fetcher;
mod films;
mod page;
mod parser;
mod producer;
mod progress;
mod report;
mod role;
mod saver;
mod site;
mod tasks;
mod verdict;
mod words;

pub(crate) use director::{Plan, direct};
pub(crate) use fetcher::{FetcherArgs, fetcher_role};
pub(crate) use parser::{ParserArgs, parser_role};
pub(crate) use producer::{ProducerArgs, producer_role};
pub(crate) use role::{RoleName, Scene, play};
pub(crate) use saver::{SaverArgs, saver_role};
pub(crate) use site::{SiteArgs, site_role};
