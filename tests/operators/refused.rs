//! Brokers that are not there, and one that cannot do what is asked.

use std::process::Command;

use manyhands_test_support::servers::RabbitMq;
use serde_json::Value;

use super::support::*;

/// The command over a broker that is named by a flag.
fn over(url: &str, args: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_manyhands"));
    ended(command.args(args).args(["--broker", url]).env_remove("MANYHANDS_BROKER").env_remove("COLUMNS"))
}

const ALL: [&[&str]; 12] = [
    &["queues", "list"],
    &["queues", "pause", "default"],
    &["queues", "resume", "default"],
    &["queues", "purge", "default", "--yes"],
    &["queues", "set", "default", "--capacity", "5"],
    &["tasks", "list"],
    &["tasks", "show", "1"],
    &["tasks", "why", "1"],
    &["tasks", "cancel", "1", "--yes"],
    &["dead", "list"],
    &["dead", "revive", "1"],
    &["dead", "purge", "1", "--yes"],
];

#[test]
fn a_broker_that_is_not_there_is_exit_code_3_without_its_password() {
    for args in ALL {
        let (code, out, said) = over("redis://user:secret@127.0.0.1:1", args);
        assert_eq!((code, out.as_str()), (Some(3), ""), "{args:?}: {said}");
        assert!(said.starts_with("error: redis cannot be reached"), "{args:?}: {said}");
        assert!(said.contains("\n  broker  redis://…@127.0.0.1:1\n") && !said.contains("secret"), "{said}");
    }
}

#[test]
fn looking_makes_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("typo");
    let url = format!("local:{}", path.display());
    for args in ALL.into_iter().filter(|args| args[1] != "set") {
        let (code, out, said) = over(&url, args);
        assert_eq!((code, out.as_str()), (Some(3), ""), "{args:?}: {said}");
        assert!(said.starts_with("error: there is no store of namespace \"mh\" in "), "{said}");
        assert!(!path.exists(), "{args:?}");
    }
    assert_eq!(over(&url, ALL[4]).0, Some(0), "who configures a queue makes it");
    for url in ["memory:", "nonsense"] {
        assert_eq!(over(url, &["queues", "list"]).0, Some(2), "{url}");
    }
}

#[test]
fn rabbitmq_counts_knows_its_dead_and_refuses_the_rest() {
    let url = RabbitMq::shared_url().unwrap();
    let url = format!("{url}?namespace=operators-{}", std::process::id());
    assert_eq!(over(&url, &["send", "work"]).0, Some(0));
    let (code, out, said) = over(&url, &["queues", "list", "--json"]);
    let object: Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!(
        (code, object["queue"].as_str(), object["ready"].as_u64()),
        (Some(0), Some("default"), Some(1)),
        "{said}"
    );
    for args in ALL.into_iter().skip(1) {
        let (code, out, said) = over(&url, args);
        if args[0] == "dead" {
            let wanted = if args[1] == "list" { Some(0) } else { Some(1) };
            assert_eq!(code, wanted, "nothing is dead: {args:?}: {said}");
            continue;
        }
        assert_eq!((code, out.as_str()), (Some(4), ""), "{args:?}: {said}");
        assert!(said.starts_with("error: rabbitmq cannot do that: "), "{args:?}: {said}");
        assert!(said.contains("use a local: or redis:// broker"), "{args:?}: {said}");
    }
    let (_, out, _) = over(&url, &["queues", "list", "default"]);
    let row: Vec<_> = out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["default", "1", "0", "0", "0", "0", "1000000", "fifo"], "nothing was changed");
}

#[test]
fn the_broker_of_the_configuration_file_is_looked_at() {
    let place = local();
    place.with(async |broker| enqueue(&*broker, &[task("images", "1")]).await);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("manyhands.toml"), format!("broker = \"{}\"\n", place.url)).unwrap();
    let there =
        |args: &[&str]| ended(place.command(args).env_remove("MANYHANDS_BROKER").current_dir(folder.path()));
    let (code, out, said) = there(&["tasks", "show", "1", "--queue", "images"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{out}");
    let (code, _, said) = there(&["tasks", "show", "2", "--queue", "images"]);
    assert!(code == Some(1) && said.contains(&place.url), "{said}");
}
