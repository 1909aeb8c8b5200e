//! `docker-compose.yml` and `Dockerfile` without an engine: they name only what is there, their containers may do nothing that they
//! need not, and the commands of the services, started as processes, do what they are there for.

#![cfg(feature = "demo")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

mod containers;
mod file;
mod image;
#[cfg(feature = "redis")]
mod running;

use std::process::{Command, Stdio};

use file::{Compose, interpolated};

/// `--help` is last, so that everything before it was understood when help is all that comes.
fn assert_understood(args: &[String]) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_manyhands"));
    let output = program.args(args).arg("--help").stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !output.stdout.is_empty(), "{args:?}: {said}");
}

#[test]
fn every_service_starts_a_role_with_flags_that_it_has() {
    let compose = Compose::read();
    let mut roles = Vec::new();
    for (name, _) in compose.programs() {
        let command = compose.command(name);
        assert_eq!(
            (command[0].as_str(), command[1].as_str()),
            ("demo", name),
            "a service is called as its role"
        );
        assert_understood(&command);
        roles.push(name);
    }
    assert_eq!(roles, ["fetcher", "parser", "producer", "saver", "site"]);
}

#[test]
fn health_is_asked_with_commands_that_there_are() {
    let compose = Compose::read();
    for (name, service) in &compose.services {
        let Some(check) = &service.healthcheck else { continue };
        let program = if service.build.is_some() { "manyhands" } else { "redis-cli" };
        assert_eq!(
            check.test[..2],
            ["CMD", program],
            "{name}: without a shell, which the image need not have"
        );
        if service.build.is_some() {
            assert_understood(&check.test[2..]);
        }
    }
}

#[test]
fn what_is_waited_for_has_a_health_check_and_no_profile() {
    let compose = Compose::read();
    for (name, service) in &compose.services {
        for (other, dependency) in &service.depends_on {
            let waited = &compose.services[other];
            assert_eq!(dependency.condition, "service_healthy", "{name}: {other}");
            assert!(waited.healthcheck.is_some() && waited.profiles.is_empty(), "{name}: {other}");
        }
    }
}

/// The names that the containers call each other by are those of services.
#[test]
fn hosts_are_services() {
    let compose = Compose::read();
    for (name, service) in compose.programs() {
        for word in service.command.iter().chain(service.environment.values()) {
            let Ok(url) = url::Url::parse(interpolated(word)) else { continue };
            let host = url.host_str().unwrap();
            assert!(compose.services.contains_key(host), "{name}: {host}");
            assert!(service.depends_on.contains_key(host), "{name} does not wait for {host}");
        }
    }
}
