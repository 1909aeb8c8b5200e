//! Whether a policy makes queues lose what is in them. Where both say something, the server takes the smaller number, and else
//! what our arguments say.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    Check,
    backends::rabbitmq::{
        difference::{Difference, Harm},
        plan::{DELIVERY_LIMIT, Planned, Role},
    },
};

const WHAT: &str = "policies";

/// What a policy can say that our arguments do not keep from holding.
const KEYS: [&str; 6] =
    ["max-length", "max-length-bytes", "message-ttl", "expires", "delivery-limit", "consumer-timeout"];

/// What one pair of policies does to queues.
#[derive(Default)]
struct Effect {
    said: Vec<String>,
    queues: Vec<String>,
    is_bad: bool,
}

/// Looks at what is in force for each of the queues that were planned.
pub(super) fn checks(planned: &[&Planned], queues: &[Value]) -> Vec<Check> {
    let roles: BTreeMap<&str, &Planned> =
        planned.iter().map(|planned| (planned.name.as_str(), *planned)).collect();
    let mut effects: BTreeMap<String, Effect> = BTreeMap::new();
    let mut count = 0;
    for queue in queues {
        let Some(planned) = queue["name"].as_str().and_then(|name| roles.get(name)) else { continue };
        count += 1;
        let harms = harms(planned, &queue["effective_policy_definition"]);
        if harms.is_empty() {
            continue;
        }
        let effect = effects.entry(policies(queue)).or_default();
        effect.queues.push(planned.name.to_string());
        for (said, is_bad) in harms {
            effect.is_bad |= is_bad;
            if !effect.said.contains(&said) {
                effect.said.push(said);
            }
        }
    }
    if effects.is_empty() {
        return vec![Check::ok(
            WHAT,
            format!("no policy bounds one of {count} queues, or takes anything out of it"),
        )];
    }
    effects.into_iter().map(|(policies, effect)| effect.check(&policies)).collect()
}

impl Effect {
    fn check(&self, policies: &str) -> Check {
        let first = self.queues.first().map_or("", String::as_str);
        let others = match self.queues.len() {
            0 | 1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        let found = format!("{policies}, for {first}{others}: {}", self.said.join("; "));
        let advice = "let its pattern not fit names that begin with mh: ; or rabbitmqctl clear_policy NAME, or clear_operator_policy NAME";
        if self.is_bad { Check::bad(WHAT, found, advice) } else { Check::warn(WHAT, found, advice) }
    }
}

/// The names of the policies that hold for a queue.
fn policies(queue: &Value) -> String {
    let named = [("policy", &queue["policy"]), ("operator policy", &queue["operator_policy"])];
    let named: Vec<_> = named
        .iter()
        .filter_map(|(kind, name)| {
            Some(format!("{kind} \"{}\"", name.as_str().filter(|name| !name.is_empty())?))
        })
        .collect();
    if named.is_empty() { "a policy".to_owned() } else { named.join(" and ") }
}

/// What is said of a queue that harms it, and whether tasks can be lost.
fn harms(planned: &Planned, definition: &Value) -> Vec<(String, bool)> {
    KEYS.iter()
        .filter_map(|key| {
            let value = definition.get(key)?;
            let (why, is_bad) = match harm(planned, key, value) {
                Harm::None => return None,
                Harm::Some(why) => (why, false),
                Harm::Danger(why) => (why, true),
            };
            Some((format!("{key} {value}: {why}"), is_bad))
        })
        .collect()
}

fn harm(planned: &Planned, key: &str, value: &Value) -> Harm {
    let number = value.as_i64();
    // An argument of ours that says less is what holds.
    let ours =
        planned.arguments.inner().get(format!("x-{key}").as_str()).and_then(|ours| ours.as_long_long_int());
    let holds = ours.is_none_or(|ours| number.is_some_and(|number| (0..ours).contains(&number)));
    match planned.role {
        // There are no messages in it, and it is gone soon after those who count.
        Role::Holders => Harm::None,
        _ if !holds || key == "delivery-limit" && number == Some(DELIVERY_LIMIT) => Harm::None,
        _ => Difference { argument: format!("x-{key}"), is: Some(value.to_string()), should: None }
            .harm(&planned.role),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        Namespace, QueueName,
        Verdict::{Bad, Ok, Warn},
        backends::rabbitmq::{class::Class, names::Names},
    };

    fn planned() -> Vec<Planned> {
        let (names, queue) = (Names::new(&Namespace::default()), QueueName::new("q").unwrap());
        vec![
            Planned::work(&names, &queue, Class::FIRST),
            Planned::line(&names, &queue, 2),
            Planned::dead(&names, &queue),
            Planned::holders(&names, &queue),
        ]
    }

    fn under(definition: &Value) -> Vec<Check> {
        let planned = planned();
        let planned: Vec<_> = planned.iter().collect();
        let of = |name: &str| json!({ "name": name, "policy": "bounds", "operator_policy": null, "effective_policy_definition": definition });
        let queues: Vec<_> =
            planned.iter().map(|planned| of(planned.name.as_str())).chain([of("other")]).collect();
        checks(&planned, &queues)
    }

    #[test]
    fn what_bounds_or_takes_out_is_bad_and_named_once() {
        for (definition, verdict, part) in [
            (json!({}), Ok, "no policy bounds one of 4 queues"),
            (
                json!({ "ha-mode": "all", "overflow": "drop-head", "dead-letter-exchange": "" }),
                Ok,
                "no policy",
            ),
            (json!({ "max-length": 5 }), Bad, "for mh:mh:work:q and 2 more: max-length 5"),
            (json!({ "expires": 1_800_000 }), Bad, "expires 1800000"),
            (json!({ "delivery-limit": 20 }), Bad, "delivery-limit 20"),
            (json!({ "delivery-limit": 1_000_000 }), Ok, "no policy"),
            (json!({ "consumer-timeout": 60_000 }), Warn, "consumer-timeout 60000"),
            (json!({ "message-ttl": 5000 }), Bad, "for mh:mh:work:q and 1 more"),
            (json!({ "message-ttl": 1000 }), Bad, "for mh:mh:work:q and 2 more"),
        ] {
            let checks = under(&definition);
            let check = &checks[0];
            assert_eq!(checks.len(), 1, "{checks:?}");
            assert!(check.verdict == verdict && check.found.contains(part), "{definition}: {check:?}");
        }
        assert!(under(&json!({ "max-length": 5 }))[0].found.starts_with("policy \"bounds\""));
    }
}
