//! The arguments of a program, with the payload's fields in them: `["convert", "{path}", "-resize", "{width}x"]`.

use std::{collections::HashMap, ffi::OsString};

use manyhands_broker::Payload;
use serde_json::value::RawValue;

/// A program and its arguments, checked. There is no shell: each stays one argument, whatever is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    words: Vec<Vec<Part>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The value of this field of the payload.
    Field(String),
}

impl Template {
    /// Reads `{field}` in the arguments; `{{` is a brace.
    ///
    /// # Errors
    /// Why they cannot be read. The program itself has no fields: what is run is not for whoever sends a task to say.
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let words = words.iter().map(|word| parts(word)).collect::<Result<Vec<_>, _>>()?;
        if words.first().is_some_and(|word| word.iter().any(|part| matches!(part, Part::Field(_)))) {
            return Err("the program may not be a field of the payload, only its arguments".to_owned());
        }
        Ok(Self { words })
    }

    /// Puts the fields of a payload in.
    ///
    /// # Errors
    /// Why that cannot be done, now or ever.
    pub(super) fn fill(&self, payload: &Payload) -> Result<Vec<OsString>, String> {
        let wanted = self.words.iter().flatten().any(|part| matches!(part, Part::Field(_)));
        let fields: HashMap<String, Box<RawValue>> = if wanted {
            serde_json::from_str(payload.as_str())
                .map_err(|_| "the payload is no object, and its fields are arguments".to_owned())?
        } else {
            HashMap::new()
        };
        let mut no_more_options = false;
        let mut filled = Vec::with_capacity(self.words.len());
        for word in &self.words {
            let text = fill(word, &fields)?;
            let ours = matches!(word.first(), Some(Part::Text(text)) if !text.is_empty());
            if text.starts_with('-') && !ours && !no_more_options {
                let name = word.iter().find_map(Part::field).unwrap_or_default();
                return Err(format!(
                    "the field \"{name}\" makes an argument that begins with a dash, which the program could take for an option: \
                     write text before it, or \"--\" as an argument of its own"
                ));
            }
            no_more_options |= *word == [Part::Text("--".to_owned())];
            filled.push(text.into());
        }
        Ok(filled)
    }
}

impl Part {
    fn field(&self) -> Option<&str> {
        match self {
            Self::Field(name) => Some(name),
            Self::Text(_) => None,
        }
    }
}

fn parts(word: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('{') {
            text.push('{');
            rest = after;
            continue;
        }
        let name = after.split_once('}').filter(|(name, _)| is_name(name));
        let Some((name, after)) = name else {
            return Err(format!("{word:?}: after {{ comes the name of a field and }}; {{{{ is a brace"));
        };
        if !text.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut text)));
        }
        parts.push(Part::Field(name.to_owned()));
        rest = after;
    }
    text.push_str(rest);
    if !text.is_empty() || parts.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn fill(word: &[Part], fields: &HashMap<String, Box<RawValue>>) -> Result<String, String> {
    let mut filled = String::new();
    for part in word {
        match part {
            Part::Text(text) => filled.push_str(text),
            Part::Field(name) => filled.push_str(&value(name, fields.get(name).map(|value| value.get()))?),
        }
    }
    Ok(filled)
}

/// A field as an argument: a string's text, a number or a bool as it was written.
fn value(name: &str, json: Option<&str>) -> Result<String, String> {
    let what = match json.map(|json| (json, json.as_bytes().first())) {
        None => "is missing",
        Some((_, Some(b'{'))) => "is an object",
        Some((_, Some(b'['))) => "is a list",
        Some(("null", _)) => "is null",
        Some((json, Some(b'"'))) => match serde_json::from_str::<String>(json) {
            Ok(text) if text.contains('\0') => "has a zero byte in it",
            Ok(text) => return Ok(text),
            Err(_) => "is no text",
        },
        Some((json, _)) => return Ok(json.to_owned()),
    };
    Err(format!(
        "the field \"{name}\" of the payload {what}; an argument is a string, a number, true or false"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(words: &[&str]) -> Result<Template, String> {
        Template::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    fn fill(words: &[&str], payload: &str) -> Result<Vec<String>, String> {
        let payload = Payload::from_json(payload).unwrap();
        let filled = template(words).unwrap().fill(&payload)?;
        Ok(filled.into_iter().map(|word| word.into_string().unwrap()).collect())
    }

    #[test]
    fn fields_become_arguments() {
        let payload = r#"{"path": "a b;$(c)\n'\"", "width": 640, "big": 12345678901234567890123, "e": 1.0, "yes": true}"#;
        let words = [
            "convert",
            "{path}",
            "-resize",
            "{width}x{width}",
            "--big={big}",
            "{e}",
            "{yes}",
            "{{a}",
            "}",
            "",
        ];
        let filled = fill(&words, payload).unwrap();
        let expected = [
            "convert",
            "a b;$(c)\n'\"",
            "-resize",
            "640x640",
            "--big=12345678901234567890123",
            "1.0",
            "true",
            "{a}",
            "}",
            "",
        ];
        assert_eq!(filled, expected);
        assert_eq!(fill(&["ls"], "3").unwrap(), ["ls"], "without fields any payload will do");
    }

    #[test]
    fn what_is_no_argument_is_refused() {
        for (payload, why) in [
            (r#"{"b": 1}"#, "\"a\" of the payload is missing"),
            (r#"{"a": null}"#, "is null"),
            (r#"{"a": {"b": 1}}"#, "is an object"),
            (r#"{"a": [1]}"#, "is a list"),
            (r#"{"a": "x\u0000y"}"#, "zero byte"),
            ("[1]", "the payload is no object"),
            ("\"a\"", "the payload is no object"),
        ] {
            let error = fill(&["p", "{a}"], payload).unwrap_err();
            assert!(error.contains(why), "{payload}: {error}");
        }
    }

    #[test]
    fn no_field_becomes_an_option() {
        let payload = r#"{"a": "-rf", "n": -5, "empty": ""}"#;
        for words in [&["p", "{a}"][..], &["p", "{n}"], &["p", "{empty}{a}"], &["p", "x--", "{a}"]] {
            assert!(fill(words, payload).is_err_and(|e| e.contains("begins with a dash")), "{words:?}");
        }
        assert_eq!(fill(&["p", "--", "{a}"], payload).unwrap(), ["p", "--", "-rf"]);
        assert_eq!(fill(&["p", "./{a}", "-{a}"], payload).unwrap(), ["p", "./-rf", "--rf"]);
    }

    #[test]
    fn templates_are_checked_at_the_start() {
        for bad in ["{", "{a", "{}", "{print $1}", "{a.b}", "x{a}{"] {
            assert!(template(&["p", bad]).is_err_and(|e| e.contains("{{ is a brace")), "{bad}");
        }
        assert!(template(&["{a}"]).is_err_and(|e| e.contains("the program may not be a field")));
        assert!(template(&["awk", "{{print $1}"]).is_ok());
    }
}
