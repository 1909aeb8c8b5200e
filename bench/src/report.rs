//! What was measured, as a table or as JSON.

use std::fmt;

use comfy_table::{ContentArrangement, Table, presets::ASCII_MARKDOWN};
use serde_json::{Value, json};

use crate::{
    figures::Spread,
    reference,
    settings::{Despite, Differs, Settings},
};

/// What a figure counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    PerSecond,
    Millis,
    Micros,
    PercentOfACore,
    MiB,
    Bytes,
    /// A part of something, such as of a fair share.
    Part,
    /// So many of something.
    Count,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "/s",
            Self::Millis => "ms",
            Self::Micros => "us",
            Self::PercentOfACore => "% of a core",
            Self::MiB => "MiB",
            Self::Bytes => "bytes",
            Self::Part | Self::Count => "",
        }
    }
}

/// What is to be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// The ratio to theirs, at least; the middle of all rounds counts.
    RatioAtLeast(f64),
    /// The ratio to theirs, at most.
    RatioAtMost(f64),
    /// The figure itself, at most; the middle of all rounds counts.
    AtMost(f64),
    /// The same, in every round.
    NeverAbove(f64),
    /// The figure itself, at least, in every round.
    NeverBelow(f64),
    /// None: it is only told.
    None,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioAtLeast(bound) => write!(f, ">= {bound} x"),
            Self::RatioAtMost(bound) => write!(f, "<= {bound} x"),
            Self::AtMost(bound) => write!(f, "<= {bound}"),
            Self::NeverAbove(bound) => write!(f, "always <= {bound}"),
            Self::NeverBelow(bound) => write!(f, "always >= {bound:.2}"),
            Self::None => f.write_str("-"),
        }
    }
}

/// One figure of a case, with what it is compared to.
#[derive(Debug)]
pub(crate) struct Row {
    case: &'static str,
    what: String,
    unit: Unit,
    ours: Vec<f64>,
    settings: Option<Settings>,
    theirs: Option<Theirs>,
    target: Target,
    /// Whether what it is compared to is so much lower than it should be that a ratio to it flatters.
    flattered: bool,
    remarks: Vec<String>,
}

/// What ours is compared to.
#[derive(Debug)]
struct Theirs {
    name: String,
    rounds: Vec<f64>,
    settings: Option<Settings>,
    despite: Despite,
}

impl Row {
    /// A figure that was measured in so many rounds.
    pub(crate) fn new(case: &'static str, what: impl Into<String>, unit: Unit, ours: Vec<f64>) -> Self {
        let (what, settings, theirs, remarks) = (what.into(), None, None, Vec::new());
        Self { case, what, unit, ours, settings, theirs, target: Target::None, flattered: false, remarks }
    }

    /// With what ours was measured.
    pub(crate) fn with(mut self, settings: Settings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Compares it to something that has settings of its own, round by round.
    pub(crate) fn beside(
        mut self,
        name: &str,
        rounds: Vec<f64>,
        settings: Settings,
        despite: Despite,
    ) -> Self {
        let spread = Spread::of(&rounds);
        let low = spread.and_then(|spread| reference::remark(name, spread.median, &settings));
        self.flattered |= low.is_some();
        self.remarks.extend(low);
        self.theirs = Some(Theirs { name: name.to_owned(), rounds, settings: Some(settings), despite });
        self
    }

    /// Compares it to something of our own, or that was computed, and so has the same settings.
    pub(crate) fn against(mut self, name: &str, rounds: Vec<f64>) -> Self {
        let (name, despite) = (name.to_owned(), Despite::Nothing);
        self.theirs = Some(Theirs { name, rounds, settings: None, despite });
        self
    }

    /// Says so if the figure, a raw one of this name, is lower than it should be on this machine.
    pub(crate) fn known_as(mut self, name: &str) -> Self {
        let pair = Spread::of(&self.ours).zip(self.settings.as_ref());
        let low = pair.and_then(|(spread, settings)| reference::remark(name, spread.median, settings));
        self.flattered |= low.is_some();
        self.remarks.extend(low);
        self
    }

    /// Notes that what it is compared to was computed from this raw figure.
    pub(crate) fn computed_from(mut self, raw: &Self) -> Self {
        self.flattered |= raw.flattered;
        self
    }

    /// What is to be reached.
    pub(crate) fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// Something to be said with it.
    pub(crate) fn remark(mut self, remark: impl Into<String>) -> Self {
        self.remarks.push(remark.into());
        self
    }

    /// Ours by theirs, of each round; refused where the settings differ.
    fn ratio(&self) -> Result<Option<Spread>, Differs> {
        let Some(theirs) = &self.theirs else { return Ok(None) };
        if let (Some(ours), Some(others)) = (&self.settings, &theirs.settings) {
            ours.comparable(others, theirs.despite)?;
        }
        let ratios: Vec<_> =
            self.ours.iter().zip(&theirs.rounds).map(|(ours, theirs)| ours / theirs).collect();
        Ok(Spread::of(&ratios))
    }

    /// Whether the target is met; nothing where there is none, or no figure to tell.
    fn met(&self) -> Option<bool> {
        let ratio = self.ratio().ok().flatten();
        let ours = Spread::of(&self.ours);
        match self.target {
            Target::RatioAtLeast(bound) => Some(ratio?.median >= bound),
            Target::RatioAtMost(bound) => Some(ratio?.median <= bound),
            Target::AtMost(bound) => Some(ours?.median <= bound),
            Target::NeverAbove(bound) => Some(ours?.max <= bound),
            Target::NeverBelow(bound) => Some(ours?.min >= bound),
            Target::None => None,
        }
    }

    fn cells(&self) -> [String; 7] {
        let unit = self.unit.name();
        let figure = |rounds: &[f64]| {
            Spread::of(rounds).map_or("-".to_owned(), |spread| format!("{} {unit}", text(spread)))
        };
        let theirs = self.theirs.as_ref().map_or("-".to_owned(), |theirs| figure(&theirs.rounds));
        let ratio = match self.ratio() {
            Ok(ratio) => ratio.map_or("-".to_owned(), text),
            Err(_) => "refused".to_owned(),
        };
        let met = match self.met() {
            Some(true) if self.flattered => "yes, flattered",
            Some(true) => "yes",
            Some(false) => "NO",
            None => "-",
        };
        let beside =
            self.theirs.as_ref().map(|theirs| format!("; theirs: {}", theirs.name)).unwrap_or_default();
        let what = format!("{}{beside}", self.what);
        [
            self.case.to_owned(),
            what,
            figure(&self.ours),
            theirs,
            ratio,
            self.target.to_string(),
            met.to_owned(),
        ]
    }

    /// The same in one line, for those who wait for the table.
    pub(crate) fn line(&self) -> String {
        let [_, what, ours, theirs, ratio, target, met] = self.cells();
        format!("   {what}: {ours}, theirs {theirs}, ratio {ratio}, target {target}, met {met}")
    }

    /// All that is to be said below the table.
    fn lines(&self) -> impl Iterator<Item = String> {
        let case = self.case;
        let theirs = self.theirs.as_ref().and_then(|theirs| theirs.settings.clone());
        let settings = self.settings.iter().cloned().chain(theirs).map(|settings| settings.to_string());
        let refused = self.ratio().err().map(|differs| differs.to_string());
        let lines: Vec<_> = settings.chain(refused).chain(self.remarks.clone()).collect();
        lines.into_iter().map(move |line| format!("{case}: {line}"))
    }

    /// The same as one object.
    pub(crate) fn json(&self) -> Value {
        let (ratio, refused) = match self.ratio() {
            Ok(ratio) => (ratio, None),
            Err(differs) => (None, Some(differs.to_string())),
        };
        let theirs = self.theirs.as_ref().map(|theirs| {
            json!({
                "name": theirs.name, "rounds": theirs.rounds, "spread": Spread::of(&theirs.rounds),
                "settings": theirs.settings,
            })
        });
        json!({
            "case": self.case, "what": self.what, "unit": self.unit.name(), "ours": Spread::of(&self.ours),
            "rounds": self.ours, "settings": self.settings, "theirs": theirs, "ratio": ratio,
            "ratio_refused": refused, "target": self.target.to_string(), "met": self.met(), "flattered": self.flattered,
            "remarks": self.remarks,
        })
    }
}

/// The middle, and in parentheses the least and the greatest.
fn text(Spread { min, median, max }: Spread) -> String {
    if min == max { number(median) } else { format!("{} ({}..{})", number(median), number(min), number(max)) }
}

/// So many digits as say anything.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => format!("{:.1}k", value / 1000.0),
        middle if middle >= 10.0 => format!("{value:.0}"),
        small if small >= 1.0 => format!("{value:.2}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.3}"),
    }
}

/// The table, and below it the settings and what else is to be said.
pub(crate) fn print(rows: &[Row], about: &[String]) {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["case", "figure", "ours", "theirs", "ratio", "target", "met"]);
    for row in rows {
        table.add_row(row.cells());
    }
    println!("{table}\n");
    println!(
        "Each figure: the median of all rounds (the least..the greatest). Ratios are taken round by round."
    );
    let mut told = Vec::new();
    for line in about.iter().cloned().chain(rows.iter().flat_map(Row::lines)) {
        if !told.contains(&line) {
            println!("- {line}");
            told.push(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Durability;

    fn settings(batch: usize) -> Settings {
        Settings {
            who: "x".into(),
            payload: 150,
            batch,
            durability: Durability::Full,
            journal: "wal".into(),
            n: 1,
        }
    }

    fn row() -> Row {
        Row::new("case", "rate", Unit::PerSecond, vec![50.0, 30.0, 40.0]).with(settings(100))
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let row = row().beside("raw", vec![100.0, 30.0, 100.0], settings(100), Despite::Nothing);
        assert_eq!(row.ratio().unwrap().unwrap(), Spread { min: 0.4, median: 0.5, max: 1.0 });
        assert_eq!(row.target(Target::RatioAtLeast(0.5)).met(), Some(true));
    }

    #[test]
    fn a_refused_ratio_meets_nothing_and_says_why() {
        let row = row().beside("raw", vec![1.0; 3], settings(500), Despite::Nothing);
        let row = row.target(Target::RatioAtLeast(0.5));
        assert_eq!(row.met(), None);
        assert_eq!(row.cells()[4], "refused");
        assert!(row.lines().any(|line| line.contains("batch differs, 100 here and 500 there")));
        assert!(row.json()["ratio_refused"].is_string());
    }

    #[test]
    fn a_target_that_is_met_beside_a_low_raw_figure_is_not_simply_met() {
        let low = row().beside(reference::INSERTS, vec![60.0; 3], settings(100), Despite::Nothing);
        assert_eq!(low.target(Target::RatioAtLeast(0.6)).cells()[6], "yes, flattered");
    }

    #[test]
    fn bounds_of_the_figure_itself() {
        let met = |target| row().target(target).met();
        assert_eq!(met(Target::AtMost(40.0)), Some(true));
        assert_eq!(met(Target::NeverAbove(40.0)), Some(false));
        assert_eq!(met(Target::NeverBelow(30.0)), Some(true));
        assert_eq!(met(Target::None), None);
        assert_eq!(met(Target::RatioAtLeast(1.0)), None, "nothing to compare to");
    }

    #[test]
    fn figures_have_the_digits_that_say_something() {
        assert_eq!([123_456.0, 123.4, 1.234, 0.1234].map(number), ["123.5k", "123", "1.23", "0.123"]);
    }
}
