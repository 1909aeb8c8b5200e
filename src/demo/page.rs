//! The HTML of one page of films, and how the pipeline reads it back.
//!
//! Both directions are here, so that the marks that one writes and the other seeks stay together.
//! [`extract`] trusts nothing: a record that is not as [`render`] writes it is an error, never left out.

use std::error::Error;
use std::fmt;
use std::sync::LazyLock;

use scraper::{ElementRef, Html, Selector};

use super::films::{FILMS, Film, PAGE};

/// The entries of the list. Any entry counts, so that one which is no film is noticed.
static ENTRY: LazyLock<Selector> = LazyLock::new(|| selector("ol.films > li"));
/// The title within an entry.
static TITLE: LazyLock<Selector> = LazyLock::new(|| selector(".title"));
/// The rating within an entry.
static RATING: LazyLock<Selector> = LazyLock::new(|| selector(".rating"));
/// The number of comments within an entry.
static COMMENTS: LazyLock<Selector> = LazyLock::new(|| selector(".comments"));

/// Parses one of the selectors above.
fn selector(text: &'static str) -> Selector {
    Selector::parse(text).expect("the selectors are constants that the tests parse")
}

/// Why a page could not be read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ExtractError {
    /// The page has no list of films, or an empty one: it is some other page.
    NoFilms,
    /// A record of the list lacks a field, or the field holds something else.
    Field {
        /// The place of the record on its page; the first is 1.
        position: usize,
        /// The id of the film, where it could be read.
        id: Option<u32>,
        /// The name of the field.
        field: &'static str,
        /// The text found in place of a value; none where the field is missing.
        found: Option<String>,
    },
}

impl fmt::Display for ExtractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Field { position, id, field, found } = self else {
            return f.write_str("the page has no list of films");
        };
        write!(f, "film {position} of the page")?;
        if let Some(id) = id {
            write!(f, " (id {id})")?;
        }
        match found {
            None => write!(f, ": field {field} is missing"),
            Some(text) => {
                // Foreign text can be of any length, and the message is for one line of a log.
                let start: String = text.chars().take(40).collect();
                write!(f, ": field {field} is malformed: {start:?}")
            }
        }
    }
}

impl Error for ExtractError {}

/// The page that begins at film `start` (the first film is 0) and shows `films`.
pub(crate) fn render(start: u32, films: &[Film]) -> String {
    let first = start.saturating_add(1);
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>Top {FILMS} films, from {first}</title>\n</head>\n<body>\n\
         <h1>Top {FILMS} films</h1>\n<ol class=\"films\" start=\"{first}\">\n"
    );
    for film in films {
        let Film { id, title, rating, comments } = film;
        let (title, comments) = (escape(title), grouped(*comments));
        html.push_str(&format!(
            "<li class=\"film\" data-id=\"{id}\">\n\
             \x20 <a class=\"title\" href=\"/film/{id}\">{title}</a>\n\
             \x20 <span class=\"rating\">{rating:.1}</span>\n\
             \x20 <span class=\"comments\">{comments} comments</span>\n</li>\n"
        ));
    }
    html.push_str("</ol>\n<nav>\n");
    let next = start.saturating_add(PAGE);
    if next < FILMS {
        html.push_str(&format!("  <a rel=\"next\" href=\"/?start={next}\">Next page</a>\n"));
    }
    html.push_str("</nav>\n</body>\n</html>\n");
    html
}

/// The films of a page, in its order.
///
/// # Errors
///
/// When the page has no film, or a film lacks a field or has a malformed one.
pub(crate) fn extract(html: &str) -> Result<Vec<Film>, ExtractError> {
    let document = Html::parse_document(html);
    let films = document
        .select(&ENTRY)
        .enumerate()
        .map(|(index, entry)| film(index + 1, entry))
        .collect::<Result<Vec<_>, _>>()?;
    if films.is_empty() { Err(ExtractError::NoFilms) } else { Ok(films) }
}

/// The film of one entry, which is number `position` of its page.
fn film(position: usize, entry: ElementRef<'_>) -> Result<Film, ExtractError> {
    let id_text = entry.attr("data-id").map(str::to_owned);
    let id = id_text.as_deref().and_then(whole);
    let error = |field, found| ExtractError::Field { position, id, field, found };
    let text = |field, selector| match entry.select(selector).next() {
        Some(element) => Ok(element.text().collect::<String>().trim().to_owned()),
        None => Err(error(field, None)),
    };

    let title = text("title", &TITLE)?;
    if title.is_empty() {
        return Err(error("title", Some(title)));
    }
    let rating = text("rating", &RATING)?;
    let rating = decimal(&rating).ok_or_else(|| error("rating", Some(rating)))?;
    let comments = text("comments", &COMMENTS)?;
    let comments = count(&comments).ok_or_else(|| error("comments", Some(comments)))?;
    let id = id.ok_or_else(|| error("id", id_text))?;
    Ok(Film { id, title, rating, comments })
}

/// Reads a whole number of digits alone; `parse` would also take a sign.
fn whole(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Reads a rating from 0 to 10 with one decimal; `parse` would also take `inf` and `1e1`.
fn decimal(text: &str) -> Option<f64> {
    let (units, tenths) = text.split_once('.')?;
    whole(units)?;
    if tenths.len() != 1 || whole(tenths).is_none() {
        return None;
    }
    text.parse().ok().filter(|rating| (0.0..=10.0).contains(rating))
}

/// Reads a number as [`grouped`] writes it, followed by the word "comments".
fn count(text: &str) -> Option<u32> {
    let digits = text.strip_suffix(" comments")?;
    let number = whole(&digits.replace(',', ""))?;
    (grouped(number) == digits).then_some(number)
}

/// Writes a number with a comma between the thousands.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a text so that HTML shows it as it is, in an element or in an attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::films::{films, page};
    use super::*;

    /// A page of one film.
    fn one(title: &str) -> (Film, String) {
        let film = Film { id: 1_234_567, title: title.to_owned(), rating: 8.7, comments: 1_234_567 };
        let html = render(0, std::slice::from_ref(&film));
        (film, html)
    }

    /// What reading a page says after one part of it was replaced.
    fn broken(from: &str, to: &str) -> String {
        let html = one("Salt").1;
        assert!(html.contains(from), "{from} is not in {html}");
        extract(&html.replacen(from, to, 1)).unwrap_err().to_string()
    }

    #[test]
    fn every_page_reads_back() {
        let starts = (0..FILMS).step_by(PAGE as usize);
        let read: Vec<_> = starts.flat_map(|start| extract(&render(start, &page(start))).unwrap()).collect();
        assert_eq!(read, films());
    }

    #[test]
    fn markup_in_a_title_is_escaped() {
        let title = "</a><script>\"R&D\" &amp; 'co' &lt;";
        let (film, html) = one(title);
        assert!(html.contains("&lt;/a&gt;&lt;script&gt;&quot;R&amp;D&quot; &amp;amp; &#39;co&#39; &amp;lt;"));
        assert_eq!(extract(&html).unwrap(), [film]);
    }

    #[test]
    fn a_page_looks_like_a_page() {
        let html = one("雨の手紙").1;
        assert!(html.starts_with("<!DOCTYPE html>\n"));
        assert!(html.contains("<meta charset=\"utf-8\">"));
        assert!(html.contains("<li class=\"film\" data-id=\"1234567\">"));
        assert!(html.contains(">1,234,567 comments<"));
        assert!(html.contains("<a rel=\"next\" href=\"/?start=25\">"));
        assert!(!render(FILMS - PAGE, &page(FILMS - PAGE)).contains("rel=\"next\""));
    }

    #[test]
    fn a_missing_field_is_named() {
        assert_eq!(broken(" data-id=\"1234567\"", ""), "film 1 of the page: field id is missing");
        for field in ["title", "rating", "comments"] {
            let said = broken(&format!("class=\"{field}\""), "");
            assert_eq!(said, format!("film 1 of the page (id 1234567): field {field} is missing"));
        }
    }

    #[test]
    fn a_malformed_field_is_named() {
        for id in ["", "+1", "tt12", "99999999999"] {
            let said = broken("data-id=\"1234567\"", &format!("data-id=\"{id}\""));
            assert_eq!(said, format!("film 1 of the page: field id is malformed: {id:?}"));
        }
        for rating in ["", "8", "8.", ".7", "8,7", "8.75", "-8.7", "NaN", "1e1", "inf", "10.1"] {
            let said = broken(">8.7<", &format!(">{rating}<"));
            assert_eq!(
                said,
                format!("film 1 of the page (id 1234567): field rating is malformed: {rating:?}")
            );
        }
        for count in
            ["", "comments", "1,23 comments", "1234567 comments", "1,234,567", "1,234,567,890,123 comments"]
        {
            let said = broken(">1,234,567 comments<", &format!(">{count}<"));
            assert_eq!(
                said,
                format!("film 1 of the page (id 1234567): field comments is malformed: {count:?}")
            );
        }
        let said = broken(">Salt<", "> \n <");
        assert_eq!(said, "film 1 of the page (id 1234567): field title is malformed: \"\"");
    }

    #[test]
    fn the_position_of_a_broken_record_is_given() {
        let films = page(0);
        let html = render(0, &films);
        let third = format!("data-id=\"{}\"", films[2].id);
        let error = extract(&html.replace(&third, "data-id=\"?\"")).unwrap_err();
        let expected =
            ExtractError::Field { position: 3, id: None, field: "id", found: Some("?".to_owned()) };
        assert_eq!(error, expected);
    }

    #[test]
    fn a_long_foreign_text_is_cut_to_one_line() {
        let said = broken(">8.7<", &format!(">a\nb{}<", "x".repeat(10_000)));
        assert!(said.len() < 120 && !said.contains('\n'), "{said}");
    }

    #[test]
    fn foreign_pages_are_errors() {
        let foreign = ["", "not found\n", "<html><body><h1>Sign in</h1><ol><li>Home</li></ol></body></html>"];
        for html in foreign.map(str::to_owned).into_iter().chain([render(FILMS, &[])]) {
            assert_eq!(extract(&html), Err(ExtractError::NoFilms), "{html}");
        }
        let changed = one("Salt").1.replace("class=\"film\" ", "class=\"advert\"><p");
        assert!(matches!(extract(&changed), Err(ExtractError::Field { .. })));
    }

    #[test]
    fn thousands_are_separated() {
        let pairs =
            [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345, "12,345"), (u32::MAX, "4,294,967,295")];
        for (number, text) in pairs {
            assert_eq!(grouped(number), text);
            assert_eq!(count(&format!("{text} comments")), Some(number));
        }
    }
}
