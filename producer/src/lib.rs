//! The client API of manyhands: put tasks on queues.
//!
//! ```
//! # use manyhands_broker::{Task, BrokerUrl};
//! # use manyhands_producer::Client;
//! # #[derive(serde::Serialize, serde::Deserialize)] struct Fetch { url: String }
//! # impl Task for Fetch { const NAME: &'static str = "fetch"; type Output = usize; }
//! # async fn example() -> manyhands_broker::Result<()> {
//! let client = Client::connect(&"memory:".parse()?).await?;
//! let id = client.send(Fetch { url: "https://example.org/".to_owned() }).await?;
//! let same = client.send(Fetch { url: "https://example.org/a".to_owned() }).id("a").queue("images").await?;
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
//! ```
//!
//! But for `entry` (feature `cli`), which is the code of the `producer` program, this crate reads no environment, prints
//! nothing and never ends the process.

mod client;
#[cfg(feature = "cli")]
pub mod entry;
mod sending;

pub use client::Client;
pub use sending::Sending;
