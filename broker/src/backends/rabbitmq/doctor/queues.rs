//! Whether the queues and exchanges of the namespace are as this version makes them.

use super::exam::{Exam, Found, Seen};
use crate::{
    Check, Result, Verdict,
    backends::rabbitmq::{
        difference::{Difference, Harm, Summary, summary_by},
        directory::Directory,
        greeting::Version,
        names::Names,
        plan::{self, Planned, Role},
        register,
    },
};

const WHAT: &str = "queues";

/// How many faults are named one by one.
const NAMED: usize = 20;

/// What was looked at, and how it stands.
type Looked = Vec<(Planned, Seen)>;

/// Looks at all that the directory knows of; also returns what that is.
pub(super) async fn checks(
    exam: &mut Exam,
    names: &Names,
    version: Option<&Version>,
) -> Result<(Vec<Check>, Vec<Planned>)> {
    let register = Planned::directory(names);
    let (mut checks, directory) = match exam.directory(&register).await? {
        Found::Directory(directory) => (Vec::new(), directory),
        Found::None => {
            let found = "nobody has used this namespace: there is no queue to look at";
            return Ok((vec![Check::ok(WHAT, found)], Vec::new()));
        }
        Found::Unreadable(unreadable) => {
            let error = register::said("doctor", unreadable);
            let advice = error.advice().unwrap_or("use another namespace: ?namespace=NAME");
            (vec![Check::bad(WHAT, error.to_string(), advice)], Directory::default())
        }
        Found::OutOfReach(why) => {
            let found = format!("{} cannot be read: {why}", register.name);
            let advice = "no session can begin here: start the nodes that are gone, and see the server's log";
            (vec![Check::bad(WHAT, found, advice)], Directory::default())
        }
    };
    let mut looked = Vec::new();
    for planned in plan::of_namespace(names, &directory) {
        let seen = exam.look(&planned).await?;
        looked.push((planned, seen));
    }
    let is_whole = checks.is_empty();
    checks
        .extend(judge(&looked, version).into_iter().filter(|check| is_whole || check.verdict != Verdict::Ok));
    checks.extend(unrouted(&looked));
    Ok((checks, looked.into_iter().map(|(planned, _)| planned).collect()))
}

/// One line if all is as it should be, else one for each fault.
fn judge(looked: &Looked, version: Option<&Version>) -> Vec<Check> {
    let mut checks = faults(looked, version);
    let more = checks.len().saturating_sub(NAMED);
    if more > 0 {
        let is_bad = checks[NAMED..].iter().any(|check| check.verdict == Verdict::Bad);
        checks.truncate(NAMED);
        let (found, advice) = (format!("{more} more are like these"), "mend these, and look again");
        checks.push(if is_bad { Check::bad(WHAT, found, advice) } else { Check::warn(WHAT, found, advice) });
    }
    checks.extend(missing(looked));
    checks.extend(forbidden(looked));
    if checks.is_empty() {
        let exchanges =
            looked.iter().filter(|(planned, _)| matches!(planned.role, Role::Exchange(_))).count();
        let queues = looked.iter().filter(|(_, seen)| *seen != Seen::Missing).count() - exchanges;
        let found = format!("{queues} queues and {exchanges} exchanges are as this version makes them");
        checks.push(Check::ok(WHAT, found));
    }
    checks
}

/// What is there and is not as it should be, what is dangerous first.
fn faults(looked: &Looked, version: Option<&Version>) -> Vec<Check> {
    let mut checks: Vec<Check> = looked
        .iter()
        .filter_map(|(planned, seen)| match seen {
            Seen::There { differences, .. } => fault(planned, differences, version),
            Seen::OutOfReach(why) => {
                let found = format!("{} is out of reach: {why}", planned.name);
                Some(Check::bad(WHAT, found, "start the nodes that are gone, and see the server's log"))
            }
            Seen::Missing | Seen::Forbidden => None,
        })
        .collect();
    checks.sort_by_key(|check| std::cmp::Reverse(check.verdict));
    checks
}

fn fault(planned: &Planned, differences: &[Difference], version: Option<&Version>) -> Option<Check> {
    let advice = advice(planned, differences);
    let found = |said: String| format!("{}: {said}", planned.name);
    match summary_by(differences, |difference| harm(difference, planned, version)) {
        Summary::Same => None,
        Summary::Harmless(said) => Some(Check::warn(WHAT, found(said), advice)),
        Summary::Dangerous(said) => Some(Check::bad(WHAT, found(said), advice)),
    }
}

/// What follows from a difference, where the version is known.
fn harm(difference: &Difference, planned: &Planned, version: Option<&Version>) -> Harm {
    let is_limited = version.is_some_and(|version| version.is_at_least(Version::LIMITS));
    match difference.harm(&planned.role) {
        Harm::Some(why)
            if difference.argument == "x-delivery-limit" && difference.is.is_none() && is_limited =>
        {
            Harm::Danger(why)
        }
        harm => harm,
    }
}

/// What to do: nothing that exists is changed or removed here.
fn advice(planned: &Planned, differences: &[Difference]) -> String {
    let only_limit =
        |difference: &Difference| difference.argument == "x-delivery-limit" && difference.is.is_none();
    if differences.iter().all(only_limit) {
        return r#"rabbitmqctl set_policy manyhands-limit '^mh:' '{"delivery-limit":1000000}' --apply-to queues"#
            .to_owned();
    }
    let name = &planned.name;
    match planned.role {
        Role::Exchange(_) => {
            "use another namespace (?namespace=NAME); or stop all programs and remove the exchange: it is made again"
                .to_owned()
        }
        Role::Work => format!(
            "an argument cannot be changed, and nothing is removed here: use another queue, or let workers empty this one, stop all programs, and: rabbitmqctl delete_queue {name} --if-empty; it is made again"
        ),
        Role::Holders => format!("stop all programs, and: rabbitmqctl delete_queue {name}; it is made again"),
        Role::Line | Role::Dead | Role::Unrouted | Role::Directory => format!(
            "an argument cannot be changed, and nothing is removed here: use another namespace (?namespace=NAME); or when it is empty, stop all programs, and: rabbitmqctl delete_queue {name} --if-empty; it is made again"
        ),
    }
}

fn missing(looked: &Looked) -> Option<Check> {
    let names: Vec<_> = looked
        .iter()
        .filter(|(planned, seen)| *seen == Seen::Missing && !planned.may_be_missing())
        .map(|(planned, _)| planned.name.as_str())
        .collect();
    let first = names.first()?;
    let found = match names.len() {
        1 => format!("{first} was removed, with what was in it"),
        count => format!("{count} queues and exchanges were removed, with what was in them, as {first}"),
    };
    let advice = "they are made again when they are used; see who has the right to remove them";
    Some(Check::warn(WHAT, found, advice))
}

fn forbidden(looked: &Looked) -> Option<Check> {
    let count = looked.iter().filter(|(_, seen)| *seen == Seen::Forbidden).count();
    let found = format!("{count} queues and exchanges could not be compared: this user may not declare them");
    let advice = "rabbitmqctl set_permissions USER '^mh:.*' '^(mh:.*|amq\\.default)$' '^mh:.*' is all that a user needs";
    (count > 0).then(|| Check::warn(WHAT, found, advice))
}

fn unrouted(looked: &Looked) -> Option<Check> {
    looked.iter().find_map(|(planned, seen)| match (&planned.role, seen) {
        (Role::Unrouted, Seen::There { ready: 0, .. }) => {
            Some(Check::ok("unrouted", "every task that was put off found its queue"))
        }
        (Role::Unrouted, Seen::There { ready, .. }) => {
            let found = format!(
                "{ready} tasks that were put off found their queue removed; they lie in {}",
                planned.name
            );
            let advice = "nobody takes them from there: look at them on the management page, and move them to their queue (the routing key has its name) or purge them";
            Some(Check::warn("unrouted", found, advice))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Namespace, QueueName, backends::rabbitmq::class::Class};

    fn work(argument: &str, is: Option<&str>) -> (Planned, Seen) {
        let names = Names::new(&Namespace::default());
        let planned = Planned::work(&names, &QueueName::new("q").unwrap(), Class::FIRST);
        let difference =
            Difference { argument: argument.to_owned(), is: is.map(str::to_owned), should: None };
        (planned, Seen::There { ready: 0, differences: vec![difference] })
    }

    #[test]
    fn dangers_come_first_and_their_number_is_bounded() {
        let mut looked = vec![work("x-consumer-timeout", None)];
        looked.extend((0..25).map(|_| work("x-max-length", Some("5"))));
        let checks = judge(&looked, None);
        assert_eq!(checks.len(), NAMED + 1, "{checks:?}");
        assert!(checks[..NAMED].iter().all(|check| check.verdict == Verdict::Bad), "{checks:?}");
        assert_eq!(checks[NAMED].found, "6 more are like these");
    }

    #[test]
    fn a_missing_limit_is_dangerous_where_the_server_has_one_of_its_own() {
        for (version, verdict) in [("3.10.8", Verdict::Warn), ("4.0.1", Verdict::Bad)] {
            let looked = vec![work("x-delivery-limit", None)];
            let checks = judge(&looked, Version::parse(version).as_ref());
            assert_eq!(checks[0].verdict, verdict, "{checks:?}");
            assert!(checks[0].advice.as_ref().unwrap().contains("set_policy"), "{checks:?}");
        }
    }

    #[test]
    fn what_is_missing_or_may_not_be_compared_is_said() {
        let (planned, _) = work("", None);
        let checks = judge(&vec![(planned.clone(), Seen::Missing)], None);
        assert!(checks[0].found.starts_with("mh:mh:work:q was removed"), "{checks:?}");
        let checks = judge(&vec![(planned, Seen::Forbidden)], None);
        assert_eq!((checks.len(), checks[0].verdict), (1, Verdict::Warn), "{checks:?}");
    }

    #[test]
    fn where_copies_lie_is_the_operators_choice() {
        let checks = judge(&vec![work("x-quorum-initial-group-size", Some("5"))], None);
        assert_eq!((checks.len(), checks[0].verdict), (1, Verdict::Ok), "{checks:?}");
    }
}
