//! From a flag to a session.

use std::{path::PathBuf, sync::Arc};

use manyhands_broker::{Broker, BrokerUrl, Error, Result, connect};

use crate::BrokerArg;

/// Turns what was given into a URL: `local:` without a path, or nothing at all, is the user's data folder, so that a
/// producer and a worker that were started in different folders meet.
///
/// # Errors
/// When the URL cannot be used, or the user has no data folder.
pub fn resolve(given: Option<&str>) -> Result<BrokerUrl> {
    let text = given.filter(|text| !text.is_empty()).unwrap_or("local:");
    match text.strip_prefix("local:") {
        Some(rest) if rest.is_empty() || rest.starts_with('?') => {
            let folder = data_folder().ok_or_else(|| {
                Error::invalid("connect", "local: is in the user's data folder, but HOME is not set")
                    .advise("--broker local:/path/of/a/directory")
            })?;
            format!("local:{}{rest}", folder.display()).parse()
        }
        _ => text.parse(),
    }
}

/// Opens a session with the broker that was given, by a flag, the environment or the configuration file.
///
/// # Errors
/// As [`BrokerArg::url`], and what [`connect`] says.
pub async fn session(given: &BrokerArg) -> Result<(BrokerUrl, Arc<dyn Broker>)> {
    let url = given.url()?;
    let broker = connect(&url).await?;
    Ok((url, broker))
}

/// `$XDG_DATA_HOME/manyhands`, or where that is by default.
fn data_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    Some(set("XDG_DATA_HOME").or_else(|| Some(set("HOME")?.join(".local/share")))?.join("manyhands"))
}
