//! `docker-compose.yml` and `Dockerfile` name only what is there: no engine is needed to see that.

#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

use std::{
    path::Path,
    process::{Command, Stdio},
};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The words of a list on one line, such as `[demo, site, --listen, "0.0.0.0:8000"]`.
fn words(list: &str) -> Vec<&str> {
    let inner = list.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.into_iter().flat_map(|inner| inner.split(',')).map(|word| word.trim().trim_matches('"')).collect()
}

/// `--help` is last, so that everything before it was understood when help is all that comes.
#[test]
fn every_service_starts_a_role_with_flags_that_it_has() {
    let text = read("docker-compose.yml");
    let (mut service, mut roles) = ("", Vec::new());
    for line in text.lines().skip_while(|line| *line != "services:") {
        if let Some(name) =
            line.strip_prefix("  ").and_then(|line| line.strip_suffix(':')).filter(|n| !n.starts_with(' '))
        {
            service = name;
        }
        let Some(command) = line.trim().strip_prefix("command:").map(words).filter(|c| c[0] == "demo") else {
            continue;
        };
        assert_eq!(command[1], service, "a service is called as its role");
        let mut program = Command::new(env!("CARGO_BIN_EXE_manyhands"));
        program.args(&command).arg("--help").stdin(Stdio::null());
        let output = program.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !output.stdout.is_empty(), "{command:?}: {said}");
        roles.push(service);
    }
    roles.sort_unstable();
    assert_eq!(roles, ["fetcher", "parser", "producer", "saver", "site"]);
    for host in ["//site:8000", "//redis:6379"] {
        let service = host.trim_start_matches('/').split(':').next().unwrap();
        assert!(text.contains(host) && text.contains(&format!("\n  {service}:\n")), "{host}");
    }
}

/// Cargo reads the manifests of all members, whatever it builds.
#[test]
fn the_image_is_built_with_every_crate() {
    let (manifest, dockerfile) = (read("Cargo.toml"), read("Dockerfile"));
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let members = words(members);
    assert!(dockerfile.contains(&format!("for crate in {}; do", members.join(" "))), "{members:?}");
    let sent = read(".dockerignore");
    for member in members.into_iter().filter(|member| *member != ".") {
        assert!(dockerfile.contains(&format!("COPY {member}/Cargo.toml {member}/")), "{member}");
        assert!(sent.lines().any(|line| line == format!("!{member}")), "{member}");
    }
}
