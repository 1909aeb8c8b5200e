//! The build of the image, as far as it can be followed without an engine.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::file::{instructions, read};

/// A list on one line, such as `[".", "bench"]`.
fn words(list: &str) -> Vec<&str> {
    let inner = list.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.into_iter().flat_map(|inner| inner.split(',')).map(|word| word.trim().trim_matches('"')).collect()
}

/// Cargo reads the manifests of all members, whatever it builds.
#[test]
fn it_has_every_crate() {
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

/// Runs a line of shell, in which `cargo build` looks for the files of all targets, and builds nothing.
fn run(folder: &Path, line: &str) {
    let targets = folder.join("targets.json");
    let cargo = format!(
        "cargo() {{ '{}' metadata --no-deps --offline --format-version 1 >'{}'; }}",
        env!("CARGO"),
        targets.display()
    );
    let script = format!("{cargo}; set -e; {line}");
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", &script]).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&std::fs::read(&targets).unwrap()).unwrap();
    for package in found["packages"].as_array().unwrap() {
        let manifest = std::fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        let targets = package["targets"].as_array().unwrap();
        // Cargo leaves out what it finds nowhere, or twice, and refuses to build then.
        let lines: Vec<_> = manifest.lines().collect();
        for declared in lines.windows(2).filter(|lines| lines[0].starts_with("[[")) {
            let kind = declared[0].trim_matches(['[', ']']);
            let name = declared[1].strip_prefix("name = ").unwrap().trim_matches('"');
            let found = targets.iter().any(|target| target["name"] == name && target["kind"][0] == kind);
            assert!(found, "{kind} {name}, after {line}");
        }
    }
}

/// Copies a file, or what is in a folder.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    let status = Command::new("cp").arg("-RT").args([from, to]).stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{} to {}", from.display(), to.display());
}

/// Copies what `.dockerignore` lets through: all is left out but for what begins with `!`, of which the other lines are left out again.
fn copy_sent(from: &Path, to: &Path) {
    let ignored = read(".dockerignore");
    let lines = ignored.lines().filter(|line| !line.starts_with('#') && *line != "*");
    let (sent, kept): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with('!'));
    let mut tar = Command::new("tar");
    tar.args(kept.iter().map(|path| format!("--exclude={path}"))).args(["--create", "--file=-"]);
    tar.args(sent.iter().map(|path| &path[1..])).current_dir(from);
    let mut packed = tar.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--file=-"]).current_dir(to).stdin(packed.stdout.take().unwrap());
    assert!(
        tar.status().unwrap().success() && packed.wait().unwrap().success(),
        "{sent:?} to {}",
        to.display()
    );
}

/// First empty crates, so that those of others have a layer of their own, then ours on top of what these left.
#[test]
fn cargo_finds_what_it_needs_after_each_step() {
    let folder = tempfile::tempdir().unwrap();
    let (sources, build) = (Path::new(env!("CARGO_MANIFEST_DIR")), folder.path());
    for line in instructions().iter().skip(1).take_while(|line| !line.starts_with("FROM ")) {
        match line.split_once(' ').unwrap() {
            ("COPY", ". .") => copy_sent(sources, build),
            ("COPY", paths) => {
                let (from, to) = paths.rsplit_once(' ').unwrap();
                for path in from.split(' ') {
                    let name = if to.ends_with('/') { Path::new(path).file_name() } else { None };
                    let to = build.join(to);
                    copy(&sources.join(path), &name.map_or_else(|| to.clone(), |name| to.join(name)));
                }
            }
            ("RUN", script) => run(build, script),
            ("WORKDIR" | "ENV", _) => {}
            (other, _) => panic!("{other}: what does it do?"),
        }
    }
}
