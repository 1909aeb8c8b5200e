//! What the containers may do, and what is not in their image.

use crate::file::{Compose, instructions};

#[test]
fn the_programs_may_do_what_they_need_and_no_more() {
    for (name, service) in Compose::read().programs() {
        assert_eq!(service.image, "manyhands", "{name}: one image for all");
        assert!(service.read_only, "{name}: only volumes are written");
        assert_eq!(service.cap_drop, ["ALL"], "{name}");
        assert_eq!(service.security_opt, ["no-new-privileges:true"], "{name}");
        assert!(service.ports.is_empty(), "{name}: nobody outside needs it");
        assert!(
            service.restart.as_deref().is_some_and(|restart| restart.starts_with("on-failure")),
            "{name}"
        );
    }
}

#[test]
fn no_volume_is_shared() {
    let compose = Compose::read();
    for volume in compose.volumes.keys() {
        let mounts = |mounts: &[String]| mounts.iter().any(|mount| mount.split(':').next() == Some(volume));
        let users: Vec<_> = compose.services.iter().filter(|(_, service)| mounts(&service.volumes)).collect();
        let [(user, service)] = users[..] else { panic!("{volume} is for one service: {}", users.len()) };
        let owner = if volume == "films" { "saver" } else { volume };
        assert_eq!((user.as_str(), service.volumes.len()), (owner, 1), "{volume}");
    }
    let mounted: usize = compose.services.values().map(|service| service.volumes.len()).sum();
    assert_eq!(mounted, compose.volumes.len(), "no folder of the host");
}

#[test]
fn ports_are_published_on_the_loopback_only() {
    for (name, service) in Compose::read().services {
        assert!(
            service.ports.iter().all(|port| port.starts_with("127.0.0.1:")),
            "{name}: {:?}",
            service.ports
        );
    }
}

#[test]
fn the_image_is_slim_and_its_program_is_not_root() {
    let all = instructions();
    let last_stage = all.iter().rposition(|line| line.starts_with("FROM ")).unwrap();
    let stage: Vec<(&str, &str)> =
        all[last_stage..].iter().map(|line| line.split_once(' ').unwrap()).collect();
    let last = |instruction| stage.iter().rfind(|(name, _)| *name == instruction).unwrap().1;
    assert!(last("FROM").ends_with("-slim"), "{}", last("FROM"));
    assert!(
        last("USER").parse::<u32>().is_ok_and(|uid| uid > 0),
        "a number, which an engine can tell from root"
    );
    assert_eq!(last("ENTRYPOINT"), r#"["/usr/local/bin/manyhands"]"#, "no shell between it and signals");
    for (_, copied) in stage.iter().filter(|(name, _)| ["ADD", "COPY"].contains(name)) {
        assert!(copied.starts_with("--from=build "), "sources are not in it: {copied}");
    }
}

#[test]
fn there_are_no_secrets() {
    let secret =
        |name: &str| ["PASS", "SECRET", "TOKEN", "KEY"].iter().any(|part| name.to_uppercase().contains(part));
    for line in instructions().iter().filter(|line| line.starts_with("ARG ") || line.starts_with("ENV ")) {
        assert!(!secret(line), "{line}");
    }
    for (name, service) in Compose::read().services {
        let values = service.environment.iter().flat_map(|(name, value)| [name, value]);
        for word in values.chain(&service.command) {
            let credentials = word.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
            assert!(!credentials && !secret(word), "{name}: {word}");
        }
    }
}
