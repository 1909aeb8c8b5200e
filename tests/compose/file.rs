//! `docker-compose.yml` and `Dockerfile` as an engine reads them.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, de::IgnoredAny};

pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compose {
    #[serde(rename = "x-program")]
    _program: IgnoredAny,
    #[serde(rename = "x-role")]
    _role: IgnoredAny,
    #[serde(rename = "x-worker")]
    _worker: IgnoredAny,
    pub(crate) services: BTreeMap<String, Service>,
    pub(crate) volumes: BTreeMap<String, Option<IgnoredAny>>,
}

/// What a service may have. Any other key is refused: `network_mode`, `privileged`, `cap_add`, `devices`, `user`, `env_file`, ….
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    pub(crate) image: String,
    pub(crate) build: Option<String>,
    #[serde(default)]
    pub(crate) command: Vec<String>,
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) depends_on: BTreeMap<String, Dependency>,
    pub(crate) healthcheck: Option<HealthCheck>,
    pub(crate) restart: Option<String>,
    #[serde(rename = "deploy")]
    _deploy: Option<Deploy>,
    #[serde(default)]
    pub(crate) read_only: bool,
    #[serde(default)]
    pub(crate) cap_drop: Vec<String>,
    #[serde(default)]
    pub(crate) security_opt: Vec<String>,
    #[serde(default)]
    pub(crate) volumes: Vec<String>,
    #[serde(default)]
    pub(crate) ports: Vec<String>,
    #[serde(default)]
    pub(crate) profiles: Vec<String>,
    #[serde(rename = "hostname")]
    _hostname: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dependency {
    pub(crate) condition: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HealthCheck {
    /// `CMD`, then a program and its arguments.
    pub(crate) test: Vec<String>,
    #[serde(rename = "interval")]
    _interval: String,
    #[serde(rename = "timeout")]
    _timeout: String,
    #[serde(rename = "retries")]
    _retries: u32,
    #[serde(rename = "start_period")]
    _start_period: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deploy {
    #[serde(rename = "replicas")]
    _replicas: u32,
}

impl Compose {
    pub(crate) fn read() -> Self {
        serde_saphyr::from_str(&read("docker-compose.yml")).unwrap()
    }

    /// The services that are this project's program, and not a broker.
    pub(crate) fn programs(&self) -> impl Iterator<Item = (&str, &Service)> {
        let ours = self.services.iter().filter(|(_, service)| service.build.is_some());
        ours.map(|(name, service)| (name.as_str(), service))
    }

    pub(crate) fn command(&self, service: &str) -> Vec<String> {
        self.services[service].command.iter().map(|word| interpolated(word).to_owned()).collect()
    }
}

/// A word as it is where the user's environment has no variable for it: `${NAME:-value}`, where it is one.
pub(crate) fn interpolated(word: &str) -> &str {
    let inner = word.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    inner.and_then(|inner| inner.split_once(":-")).map_or(word, |(_, value)| value)
}

/// The instructions of the Dockerfile, each on one line, without comments.
pub(crate) fn instructions() -> Vec<String> {
    let dockerfile = read("Dockerfile");
    let lines = dockerfile.lines().filter(|line| !line.trim_start().starts_with('#'));
    let whole = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    whole.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}
