//! How something in the server differs from what this version makes, and what follows from that.
//!
//! A client cannot ask for the arguments of a queue. But the server refuses to declare one again with others, and its refusal names the
//! first that differs; so what is there is declared with what it seems to have until the server agrees.

use std::fmt;

use lapin::{
    Connection, ErrorKind,
    types::{AMQPValue, ShortString},
};

use super::{
    error,
    plan::{DELIVERY_LIMIT, Planned, Role, text},
};

/// What marks a refusal because of an argument.
const MARK: &str = "inequivalent arg '";

/// How many arguments can differ: more than there are.
const MOST: usize = 20;

/// From how few deliveries on a message is thrown away while it is needed: the directory and what is dead are looked at, and put back, as
/// often as this before a fresh copy takes their place.
const FEW: i64 = 2_000;

/// One argument that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) argument: String,
    /// What it is; `None` where the thing has none.
    pub(super) is: Option<String>,
    /// What this version makes it; `None` where it makes none.
    pub(super) should: Option<String>,
}

/// What follows from a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    /// Nothing: where copies lie is the operator's choice.
    None,
    /// Something that somebody should know.
    Some(&'static str),
    /// Tasks can be lost, or do not come.
    Danger(&'static str),
}

impl Difference {
    /// Reads the server's refusal.
    fn read(error: &lapin::Error) -> Option<Self> {
        let ErrorKind::ProtocolError(refusal) = error.kind() else { return None };
        Self::parse(refusal.get_message().as_str())
    }

    /// Reads `… inequivalent arg 'NAME' for queue 'q' in vhost '/': received A but current is B`. The server cuts this off after 255 bytes: of
    /// what it does not say, `is` has nothing.
    fn parse(text: &str) -> Option<Self> {
        let (_, text) = text.split_once(MARK)?;
        let (argument, text) = text.split_once('\'')?;
        let values = text.split_once(": received ").map_or("", |(_, values)| values);
        let (should, is) = values.split_once(" but current is ").unwrap_or((values, ""));
        Some(Self { argument: argument.to_owned(), is: value(is), should: value(should) })
    }

    /// What follows from it, for something of this role.
    pub(super) fn harm(&self, role: &Role) -> Harm {
        let forwards = matches!(role, Role::Work | Role::Line);
        match (self.argument.as_str(), role) {
            (_, Role::Exchange(_)) => Harm::Danger("what is published there takes another way"),
            (_, Role::Holders) => Harm::Danger("sessions cannot be counted by it"),
            ("x-queue-type", _) => {
                Harm::Danger("only a quorum queue has copies on other nodes, and counts deliveries")
            }
            ("durable" | "auto_delete" | "exclusive" | "x-expires", _) => {
                Harm::Danger("the server removes it, with what is in it")
            }
            ("x-max-length" | "x-max-length-bytes", Role::Work | Role::Line) => {
                Harm::Danger("the server refuses or throws away what is too much")
            }
            ("x-max-length" | "x-max-length-bytes", _) => {
                Harm::Danger("the server throws away what is too much")
            }
            ("x-message-ttl", Role::Line) => Harm::Danger("what is put off comes at another time"),
            ("x-message-ttl", _) => Harm::Danger("the server takes out what is there for longer"),
            ("x-dead-letter-exchange" | "x-dead-letter-routing-key", Role::Work) => {
                Harm::Danger("what the server gives up does not come to the dead")
            }
            ("x-dead-letter-exchange" | "x-dead-letter-routing-key", Role::Line) => {
                Harm::Danger("what has waited does not come to its queue")
            }
            ("x-dead-letter-strategy" | "x-overflow", _) if forwards => {
                Harm::Danger("the server hands on without waiting for the confirm, and a crash loses tasks")
            }
            ("x-delivery-limit", _) => self.harm_of_limit(),
            ("x-consumer-timeout", _) => {
                Harm::Some("a task that runs for longer than the server's consumer_timeout is taken away")
            }
            ("x-single-active-consumer", _) => Harm::Some("one session at a time gets its tasks"),
            ("x-queue-leader-locator" | "x-quorum-initial-group-size" | "x-quorum-target-group-size", _) => {
                Harm::None
            }
            _ => Harm::Some("this version does not know what follows from it"),
        }
    }

    fn harm_of_limit(&self) -> Harm {
        match self.is.as_deref().map(str::parse::<i64>) {
            None => Harm::Some("from RabbitMQ 4.0 on, that is a limit of 20"),
            Some(Ok(limit)) if (0..FEW).contains(&limit) => {
                Harm::Danger("the server gives up what was handed out so often, or only looked at")
            }
            Some(_) => Harm::Some("the server gives up what was handed out so often"),
        }
    }

    /// Whether all other differences follow from it: another kind of queue has other arguments.
    fn is_all(&self) -> bool {
        self.argument == "x-queue-type"
    }

    /// Takes over what is there, so that the next refusal names the next difference; false where it cannot be said.
    fn adopt(&self, planned: &mut Planned, shape: &mut Shape) -> bool {
        let is = self.is.as_deref();
        match self.argument.as_str() {
            "durable" => shape.durable = is == Some("true"),
            "auto_delete" => shape.auto_delete = is == Some("true"),
            "type" => match (&mut planned.role, is) {
                (Role::Exchange(kind), Some(is)) => *kind = kind_of(is),
                _ => return false,
            },
            name if name.starts_with("x-") || name == "alternate-exchange" => {
                let mut arguments = planned.arguments.inner().clone();
                match is {
                    None => drop(arguments.remove(name)),
                    Some(is) => drop(arguments.insert(ShortString::from(name), value_of(is))),
                }
                planned.arguments = arguments.into();
            }
            _ => return false,
        }
        true
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { argument, is, should } = self;
        match (argument.as_str(), is.as_deref(), should.as_deref()) {
            ("x-queue-type", is, should) => {
                let kind = |kind: Option<&str>| format!("a {} queue", kind.unwrap_or("classic"));
                write!(f, "it is {}, and must be {}", kind(is), kind(should))
            }
            (_, Some(is), Some(should)) => write!(f, "{argument} is \"{is}\", and must be \"{should}\""),
            (_, Some(is), None) => write!(f, "{argument} is \"{is}\", and must not be there"),
            (_, None, Some(should)) => write!(f, "it has no {argument}, and must have \"{should}\""),
            (_, None, None) => write!(f, "{argument} differs"),
        }
    }
}

/// What all differences of one thing come to, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Summary {
    /// Nothing that anybody must know.
    Same,
    /// Something that somebody should know.
    Harmless(String),
    /// Tasks can be lost, or do not come.
    Dangerous(String),
}

/// Says what the differences of something of this role come to.
pub(super) fn summary(differences: &[Difference], role: &Role) -> Summary {
    summary_by(differences, |difference| difference.harm(role))
}

/// The same, where something else is known of what follows from each.
pub(super) fn summary_by(differences: &[Difference], harm: impl Fn(&Difference) -> Harm) -> Summary {
    let (mut said, mut is_dangerous) = (Vec::new(), false);
    for difference in differences {
        let harm = harm(difference);
        is_dangerous |= matches!(harm, Harm::Danger(_));
        if let Harm::Some(why) | Harm::Danger(why) = harm {
            said.push(format!("{difference}: {why}"));
        }
    }
    match (said.is_empty(), is_dangerous) {
        (true, _) => Summary::Same,
        (false, false) => Summary::Harmless(said.join("; ")),
        (false, true) => Summary::Dangerous(said.join("; ")),
    }
}

/// What a declaration says besides arguments, and can differ too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Only to be looked for.
    pub(super) passive: bool,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
}

impl Shape {
    /// That of all that is planned.
    pub(super) const PLANNED: Self = Self { passive: false, durable: true, auto_delete: false };

    /// That of what is only looked for.
    pub(super) const LOOK: Self = Self { passive: true, ..Self::PLANNED };
}

/// Finds in what something that is there differs from what is planned. Each difference costs a channel, as the server closes it.
///
/// # Errors
/// What the server refuses for another reason.
pub(super) async fn differences(
    connection: &Connection,
    planned: &Planned,
) -> lapin::Result<Vec<Difference>> {
    let (mut like, mut shape) = (planned.clone(), Shape::PLANNED);
    let mut found: Vec<Difference> = Vec::new();
    loop {
        let channel = connection.create_channel().await?;
        match like.declare(&channel, shape).await {
            Ok(_) => {
                channel.close(200, "compared".into()).await?;
                return Ok(found);
            }
            Err(e) if error::code(&e) == error::LOCKED => {
                let is = Some("true".to_owned());
                found.push(Difference {
                    argument: "exclusive".to_owned(),
                    is,
                    should: Some("false".to_owned()),
                });
                return Ok(found);
            }
            Err(e) => {
                let Some(mut difference) = Difference::read(&e) else {
                    // Not all that was taken over goes together.
                    return if found.is_empty() { Err(e) } else { Ok(found) };
                };
                if difference.is_all() {
                    return Ok(vec![difference]);
                }
                let is_last = !difference.adopt(&mut like, &mut shape);
                match found.iter_mut().find(|before| before.argument == difference.argument) {
                    // The server's words were cut off before, and now it had less to say.
                    Some(before) if before.is.is_none() && difference.is.is_some() => {
                        before.is = difference.is;
                    }
                    Some(_) => return Ok(found),
                    None => {
                        let planned = planned.arguments.inner().get(difference.argument.as_str());
                        difference.should = planned.map(written).or(difference.should);
                        found.push(difference);
                    }
                }
                if is_last || found.len() >= MOST {
                    return Ok(found);
                }
            }
        }
    }
}

/// Reads `none`, `'V'` or `the value 'V' of type 'T'`; nothing of what was cut off.
fn value(text: &str) -> Option<String> {
    let text = text.trim();
    if text == "none" || !text.ends_with('\'') {
        return None;
    }
    let text = text.strip_prefix("the value ").unwrap_or(text);
    let text = text.rsplit_once(" of type ").map_or(text, |(value, _)| value);
    Some(text.trim_matches('\'').to_owned())
}

/// The server compares numbers and truths by their value, so that their exact type does not matter.
fn value_of(value: &str) -> AMQPValue {
    match value.parse::<i64>() {
        Ok(number) => AMQPValue::LongLongInt(number),
        Err(_) => match value {
            "true" => AMQPValue::Boolean(true),
            "false" => AMQPValue::Boolean(false),
            other => text(other),
        },
    }
}

/// An argument of ours, as it is shown.
fn written(value: &AMQPValue) -> String {
    match value {
        AMQPValue::LongString(text) => text.to_string(),
        AMQPValue::LongLongInt(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn kind_of(text: &str) -> lapin::ExchangeKind {
    use lapin::ExchangeKind::{Custom, Direct, Fanout, Headers, Topic};
    match text {
        "direct" => Direct,
        "fanout" => Fanout,
        "headers" => Headers,
        "topic" => Topic,
        other => Custom(other.to_owned()),
    }
}

const _: () = assert!(FEW < DELIVERY_LIMIT);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(argument: &str, values: &str) -> Difference {
        let text = format!(
            "PRECONDITION_FAILED - inequivalent arg '{argument}' for queue 'q' in vhost '/': {values}"
        );
        Difference::parse(&text).unwrap()
    }

    /// As RabbitMQ 3.10 says it.
    #[test]
    fn refusals_are_read() {
        let cases = [
            (
                "x-max-length",
                "received none but current is the value '5' of type 'long'",
                "x-max-length is \"5\", and must not be there",
            ),
            (
                "x-queue-type",
                "received the value 'quorum' of type 'longstr' but current is none",
                "it is a classic queue, and must be a quorum queue",
            ),
            (
                "x-queue-type",
                "received 'quorum' but current is 'stream'",
                "it is a stream queue, and must be a quorum queue",
            ),
            (
                "x-message-ttl",
                "received '2000' but current is '1000'",
                "x-message-ttl is \"1000\", and must be \"2000\"",
            ),
            (
                "x-dead-letter-exchange",
                "received the value '' of type 'longstr' but current is none",
                "it has no x-dead-letter-exchange, and must have \"\"",
            ),
            (
                "durable",
                "received 'true' but current is 'false'",
                "durable is \"false\", and must be \"true\"",
            ),
        ];
        for (argument, values, said) in cases {
            assert_eq!(parse(argument, values).to_string(), said);
        }
        assert_eq!(Difference::parse("PRECONDITION_FAILED - unknown delivery tag 5"), None);
        for cut in [
            "",
            "received the value 'mh:",
            "received none but current is the value 'mh",
            "received none but cu",
        ] {
            let Difference { argument, is, .. } = parse("x-dead-letter-exchange", cut);
            assert_eq!((argument.as_str(), is), ("x-dead-letter-exchange", None), "{cut}");
        }
    }

    #[test]
    fn what_loses_tasks_is_a_danger_and_where_copies_lie_is_none() {
        let harm = |argument: &str, is: Option<&str>, role| {
            let difference =
                Difference { argument: argument.to_owned(), is: is.map(str::to_owned), should: None };
            difference.harm(&role)
        };
        let dangers = [
            ("x-queue-type", None, Role::Work),
            ("x-max-length", Some("5"), Role::Work),
            ("x-max-length", Some("5"), Role::Dead),
            ("x-overflow", None, Role::Line),
            ("x-message-ttl", Some("5"), Role::Directory),
            ("x-delivery-limit", Some("20"), Role::Work),
            ("x-expires", Some("5"), Role::Unrouted),
            ("durable", Some("false"), Role::Work),
            ("type", Some("direct"), Role::Exchange(lapin::ExchangeKind::Topic)),
        ];
        for (argument, is, role) in dangers {
            assert!(matches!(harm(argument, is, role), Harm::Danger(_)), "{argument}");
        }
        let some = [
            ("x-delivery-limit", None, Role::Work),
            ("x-delivery-limit", Some("50000"), Role::Work),
            ("x-delivery-limit", Some("-1"), Role::Work),
            ("x-consumer-timeout", None, Role::Work),
            ("x-overflow", Some("reject-publish"), Role::Dead),
            ("x-new", Some("1"), Role::Work),
        ];
        for (argument, is, role) in some {
            assert!(matches!(harm(argument, is, role), Harm::Some(_)), "{argument}");
        }
        assert_eq!(harm("x-quorum-initial-group-size", Some("5"), Role::Work), Harm::None);
    }
}
