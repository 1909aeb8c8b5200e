//! Who gives an order, for people who ask later.

use manyhands_broker::limits;

/// The user and the host, such as `ann@box`: by their names, as far as the environment and the kernel know them. It is no proof of
/// anything.
pub(super) fn user_and_host() -> String {
    let named = |name| std::env::var(name).ok().filter(|user: &String| !user.is_empty());
    // With sudo, who is at the keyboard says more than "root".
    let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(named);
    let user = user.unwrap_or_else(|| rustix::process::getuid().as_raw().to_string());
    let who = format!("{user}@{}", rustix::system::uname().nodename().to_string_lossy());
    who[..who.floor_char_boundary(limits::MAX_BY)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_never_refused() {
        let who = user_and_host();
        let (user, host) = who.split_once('@').unwrap();
        assert!(!user.is_empty() && !host.is_empty() && who.len() <= limits::MAX_BY, "{who}");
    }
}
