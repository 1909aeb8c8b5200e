//! What calls came to, as JSON.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What a call of a function came to: its result as JSON, or with which words it panicked.
pub type Reply<'a> = Result<&'a RawValue, &'a str>;

/// Calls of which some panicked. Where none did, the results alone are written, in an array.
#[derive(Deserialize, Serialize)]
struct Mixed<'a> {
    /// `null` for a call that panicked.
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
    /// The places of those that panicked, and their words.
    panics: Vec<(usize, String)>,
}

/// Writes results one after the other.
#[derive(Debug)]
pub(super) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    began: usize,
    count: usize,
    panics: Vec<(usize, String)>,
}

impl<'o> Writer<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>) -> Self {
        let began = out.len();
        out.push(b'[');
        Self { out, began, count: 0, panics: Vec::new() }
    }

    /// Adds what one call came to.
    pub(super) fn add(&mut self, result: Result<&impl Serialize, String>) {
        if self.count > 0 {
            self.out.push(b',');
        }
        let at = self.out.len();
        let written = result.and_then(|result| {
            serde_json::to_writer(&mut *self.out, result)
                .map_err(|e| format!("its result cannot be written as JSON: {e}"))
        });
        if let Err(words) = written {
            self.out.truncate(at);
            self.out.extend_from_slice(b"null");
            self.panics.push((self.count, words));
        }
        self.count += 1;
    }

    pub(super) fn end(self) {
        self.out.push(b']');
        if self.panics.is_empty() {
            return;
        }
        // Seldom, so that it may take its time: the texts of numbers and of words cannot fail to be written.
        let results = self.out.split_off(self.began);
        self.out.extend_from_slice(b"{\"results\":");
        self.out.extend_from_slice(&results);
        self.out.extend_from_slice(b",\"panics\":");
        let _ = serde_json::to_writer(&mut *self.out, &self.panics);
        self.out.push(b'}');
    }
}

/// Reads what calls came to: all results at once as `whole` reads them, or each by itself where some panicked.
///
/// # Errors
/// When the text is neither, or not of these types.
pub fn read_reply<T>(
    text: &str,
    whole: impl FnOnce(&str) -> serde_json::Result<Vec<T>>,
    mut each: impl FnMut(Reply<'_>) -> serde_json::Result<T>,
) -> serde_json::Result<Vec<T>> {
    if !text.starts_with('{') {
        return whole(text);
    }
    let Mixed { results, panics } = serde_json::from_str(text)?;
    let mut panics = panics.into_iter().peekable();
    let read = |(at, result)| match panics.next_if(|(panicked, _)| *panicked == at) {
        Some((_, words)) => each(Err(&words)),
        None => each(Ok(result)),
    };
    results.into_iter().enumerate().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Result<u64, String>> {
        let whole = |text: &str| Ok(serde_json::from_str::<Vec<u64>>(text)?.into_iter().map(Ok).collect());
        read_reply(text, whole, |reply| match reply {
            Ok(result) => serde_json::from_str(result.get()).map(Ok),
            Err(words) => Ok(Err(words.to_owned())),
        })
        .unwrap()
    }

    #[test]
    fn each_call_has_its_own_end() {
        let mut out = b"before".to_vec();
        let mut writer = Writer::new(&mut out);
        writer.add(Ok(&1));
        writer.add(Ok(&2));
        writer.end();
        assert_eq!(out, b"before[1,2]");
        assert_eq!(read("[1,2]"), [Ok(1), Ok(2)]);

        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.add(Err::<&u64, _>("no \"luck\"".to_owned()));
        writer.add(Ok(&7));
        writer.add(Err::<&u64, _>("none".to_owned()));
        writer.end();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(read(&text), [Err("no \"luck\"".to_owned()), Ok(7), Err("none".to_owned())]);
    }

    #[test]
    fn what_cannot_be_written_fails_its_call_alone() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        let keys_of_two = std::collections::BTreeMap::from([((1, 2), 3)]);
        writer.add(Ok(&keys_of_two));
        writer.add(Ok(&std::collections::BTreeMap::from([(1, 2)])));
        writer.end();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with(r#"{"results":[null,{"1":2}],"panics":[[0,"its result cannot be written"#),
            "{text}"
        );
    }
}
