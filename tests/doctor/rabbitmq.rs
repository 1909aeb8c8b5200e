//! Over RabbitMQ: a server that is set up well, and then badly, one thing after the other.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use manyhands_test_support::servers::RabbitMq;

use crate::{Checks, doctor, examined};

/// How long the management plugin may take to tell what is: it looks every 5 s.
const TOLD: Duration = Duration::from_secs(60);

fn send(broker: &str, args: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_manyhands"));
    command.args(["send", "work", "--broker", broker]).args(args).stdout(Stdio::null());
    assert!(command.status().unwrap().success());
}

/// The URL of a namespace, for which the server's plugin is asked.
fn url(server: &RabbitMq, namespace: &str) -> String {
    format!("{}?namespace={namespace}&management={}", server.url(), server.management_url())
}

fn verdict<'a>(checks: &'a Checks, name: &str) -> &'a str {
    checks.get(name).map_or("", |(verdict, ..)| verdict)
}

/// Examines until the plugin has told what is waited for.
fn examined_until(broker: &str, told: impl Fn(&Checks) -> bool) -> (Option<i32>, Checks) {
    let began = Instant::now();
    loop {
        let (code, checks) = examined(broker);
        if told(&checks) {
            return (code, checks);
        }
        assert!(began.elapsed() < TOLD, "{checks:#?}");
    }
}

/// Puts a queue that is not what it should be in the place of one, as an operator can who means well.
fn replace(server: &RabbitMq, name: &str, arguments: &str) {
    let queue = format!(r#"rabbit_misc:r(<<"/">>, queue, <<"{name}">>)"#);
    let removed = format!(
        r#"{{ok, Q}} = rabbit_amqqueue:lookup({queue}), rabbit_amqqueue:delete(Q, false, false, <<"op">>)"#
    );
    let made = format!(r#"rabbit_amqqueue:declare({queue}, true, false, [{arguments}], none, <<"op">>)"#);
    server.operate(&["eval", &format!("{removed}, {made}.")]).unwrap();
}

#[test]
fn a_server_that_is_set_up_well_is_ok_until_something_is_not() {
    let server = RabbitMq::options().management().start().unwrap();
    let (code, checks) = examined(&url(&server, "good"));
    assert_eq!(code, Some(0), "{checks:#?}");
    assert!(checks["queues"].1.contains("nobody has used this namespace"), "{checks:#?}");

    let good = url(&server, "good");
    send(&good, &["--queue", "films"]);
    send(&good, &["--queue", "films", "--delay", "7d"]);
    let (code, checks) = examined(&good);
    assert_eq!(code, Some(0), "{checks:#?}");
    let names: Vec<_> = checks.keys().map(String::as_str).collect();
    let mut all = vec![
        "alarm",
        "calls",
        "cluster",
        "disk",
        "files",
        "flags",
        "management",
        "memory",
        "policies",
        "queues",
        "timeout",
        "unrouted",
        "version",
    ];
    // Later, all flags are enabled that we need, and each queue says how long a task may take.
    let is_before_3_12 = RabbitMq::release().unwrap() < (3, 12);
    all.retain(|name| is_before_3_12 || *name != "flags");
    assert_eq!(names, all, "{checks:#?}");
    // How fast and how full this machine is, is not what this is about.
    let known = |name: &&&str| !["calls", "timeout", "disk", "memory", "files"].contains(*name);
    for name in all.iter().filter(known) {
        assert_eq!(verdict(&checks, name), "ok", "{name}: {checks:#?}");
    }
    assert!(checks["queues"].1.ends_with("are as this version makes them"), "{checks:#?}");
    assert!(checks["calls"].1.starts_with("declare "), "{checks:#?}");
    if is_before_3_12 {
        // Nobody said what the server is told.
        assert_eq!(verdict(&checks, "timeout"), "warn", "{checks:#?}");
        let (_, said) = examined(&format!("{good}&consumer_timeout=45m"));
        assert!(said["timeout"].0 == "ok" && said["timeout"].1.contains("45m"), "{said:#?}");
    } else {
        assert_eq!(verdict(&checks, "timeout"), "ok", "{checks:#?}");
    }
    // What was looked at is as it was, and nothing was left.
    let (_, again) = examined(&good);
    assert_eq!(again["queues"], checks["queues"]);

    a_user_with_no_more_rights_than_needed(&server);
    wrong_queues(&server);
    policies(&server, &good);
    alarm(&server, &good);
}

fn a_user_with_no_more_rights_than_needed(server: &RabbitMq) {
    server.operate(&["add_user", "queues", "secret"]).unwrap();
    let rights = ["set_permissions", "queues", "^mh:.*", "^(mh:.*|amq\\.default)$", "^mh:.*"];
    server.operate(&rights).unwrap();
    let broker = url(server, "rights").replace("guest:guest@", "queues:secret@");
    send(&broker, &["--queue", "films"]);
    send(&broker, &["--queue", "films", "--delay", "7d"]);
    let (code, checks) = examined(&broker);
    assert_eq!(code, Some(0), "{checks:#?}");
    assert!(checks["queues"].0 == "ok" && checks["calls"].1.starts_with("declare "), "{checks:#?}");
    let (verdict, found, advice) = &checks["management"];
    assert!(verdict == "warn" && found.contains("let this user in") && !found.contains("secret"), "{found}");
    assert!(advice.contains("monitoring"), "{advice}");
}

fn wrong_queues(server: &RabbitMq) {
    let bad = url(server, "bad");
    send(&bad, &["--queue", "films"]);
    let work = "mh:bad:work:films";
    replace(server, work, "");
    let (code, checks) = examined(&bad);
    let (verdict, found, advice) = &checks["queues"];
    assert_eq!((code, verdict.as_str()), (Some(1), "bad"), "{checks:#?}");
    assert!(found.contains(&format!("{work}: it is a classic queue, and must be a quorum queue")), "{found}");
    assert!(advice.contains("nothing is removed here"), "{advice}");

    let bounded = r#"{<<"x-queue-type">>, longstr, <<"quorum">>}, {<<"x-max-length">>, long, 5}"#;
    replace(server, work, bounded);
    let (code, checks) = examined(&bad);
    let found = &checks["queues"].1;
    assert_eq!(code, Some(1), "{checks:#?}");
    for part in
        ["x-max-length is \"5\", and must not be there", "it has no x-overflow", "it has no x-delivery-limit"]
    {
        assert!(found.contains(part), "{part}: {found}");
    }

    server.operate(&["delete_queue", work]).unwrap();
    let (code, checks) = examined(&bad);
    assert_eq!(code, Some(0), "{checks:#?}");
    assert!(checks["queues"].0 == "warn" && checks["queues"].1.contains("was removed"), "{checks:#?}");
    // It only looked.
    assert!(server.operate(&["delete_queue", work]).is_err());
}

fn policies(server: &RabbitMq, good: &str) {
    let bound = r#"{"max-length": 5, "overflow": "drop-head"}"#;
    server.operate(&["set_policy", "bounds", "^mh:good:", bound, "--apply-to", "queues"]).unwrap();
    let (code, checks) = examined_until(good, |checks| verdict(checks, "policies") == "bad");
    assert_eq!(code, Some(1), "{checks:#?}");
    let (_, found, advice) = &checks["policies"];
    assert!(found.starts_with("policy \"bounds\"") && found.contains("max-length 5"), "{found}");
    assert!(advice.contains("clear_policy"), "{advice}");
    for name in ["memory", "disk", "files"] {
        assert!(!checks[name].1.contains("yet"), "{checks:#?}");
    }
}

fn alarm(server: &RabbitMq, good: &str) {
    server.operate(&["set_vm_memory_high_watermark", "0.0001"]).unwrap();
    let (code, checks) = examined(good);
    assert_eq!((code, verdict(&checks, "alarm")), (Some(1), "bad"), "{checks:#?}");
    assert!(checks["alarm"].1.contains("low on memory"), "{checks:#?}");
    // A namespace that is not there yet can be examined all the same.
    let (code, checks) = examined(&url(server, "new"));
    assert_eq!((code, verdict(&checks, "alarm")), (Some(1), "bad"), "{checks:#?}");
}

#[test]
fn what_cannot_be_asked_without_the_plugin_is_said() {
    let server = RabbitMq::shared_url().unwrap();
    let broker = format!("{server}?namespace=unmanaged&management=http://127.0.0.1:1");
    let (code, checks) = examined(&broker);
    assert_eq!(code, Some(0), "{checks:#?}");
    let (verdict, found, advice) = &checks["management"];
    assert!(
        verdict == "warn" && found.contains("policies") && advice.contains("rabbitmq_management"),
        "{found}"
    );
    assert!(!checks.contains_key("policies") && checks["version"].0 == "ok", "{checks:#?}");
    let (code, out, said) = doctor("amqp://guest:secret@127.0.0.1:1", &[]);
    assert_eq!((code, out.as_str(), said.contains("secret")), (Some(3), "", false), "{said}");
}
