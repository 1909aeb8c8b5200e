//! `docs/backends.md` shows what the backends claim. To write it anew: `MANYHANDS_WRITE=1 cargo test --test backends_page`.

use std::{fs, path::Path};

use manyhands_broker::{
    Capabilities,
    backends::{local::LocalBroker, rabbitmq::RabbitMqBroker, redis::RedisBroker},
};

/// The lines between which the table stands.
const MARKS: (&str, &str) = ("<!-- capabilities: written by a test -->\n", "<!-- end of capabilities -->\n");

fn table() -> String {
    let backends = [
        ("`memory:`", Capabilities::FULL),
        ("`local:`", LocalBroker::CAPABILITIES),
        ("`redis://`", RedisBroker::CAPABILITIES),
        ("`amqp://`", RabbitMqBroker::CAPABILITIES),
    ];
    let mut text = String::from("|");
    backends.iter().for_each(|(name, _)| text.push_str(&format!(" | {name}")));
    text.push_str(" |\n|---|---|---|---|---|\n");
    for (row, (name, _)) in Capabilities::FULL.rows().iter().enumerate() {
        text.push_str(&format!("| {name}"));
        backends.iter().for_each(|(_, claims)| text.push_str(&format!(" | {}", claims.rows()[row].1)));
        text.push_str(" |\n");
    }
    text
}

#[test]
fn the_page_shows_what_is_claimed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/backends.md");
    let page = fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once(MARKS.0).unwrap();
    let (_, tail) = rest.split_once(MARKS.1).unwrap();
    let wanted = format!("{head}{}{}{}{tail}", MARKS.0, table(), MARKS.1);
    if std::env::var_os("MANYHANDS_WRITE").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap() == wanted,
        "docs/backends.md is old; the table is:\n{}",
        table()
    );
}
