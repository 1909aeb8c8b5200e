//! The films that the demo's site lists: 250 invented titles with ratings, the same in every run.
//!
//! The site and the check at the end of the pipeline are separate processes. Both make the list from
//! the same seed, so that they agree on it without a file between them.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// How many films there are.
pub(crate) const FILMS: u32 = 250;

/// How many films one page of the site shows.
pub(crate) const PAGE: u32 = 25;

/// Where the generator starts; another value gives other films.
const SEED: u64 = 0x6d61_6e79_6861_6e64;

/// Every film in the order of the site, made once in a process.
static ALL: LazyLock<Vec<Film>> = LazyLock::new(make);

/// One film of the list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Film {
    /// The number by which the site knows the film.
    pub(crate) id: u32,
    /// The title, in any script.
    pub(crate) title: String,
    /// The rating from 7.0 to 9.9: the `f64` nearest to a number with one decimal.
    pub(crate) rating: f64,
    /// How many comments the film has.
    pub(crate) comments: u32,
}

/// Every film, best rating first; equal ratings by more comments first, then by lower id.
pub(crate) fn films() -> Vec<Film> {
    ALL.clone()
}

/// The films of the page that begins at `start` (the first film is 0): fewer or none at the end.
pub(crate) fn page(start: u32) -> Vec<Film> {
    ALL.iter().skip(start as usize).take(PAGE as usize).cloned().collect()
}

/// Titles of one kind: a left part, a joint and a right part.
struct Style {
    /// What a title can begin with.
    left: &'static [&'static str],
    /// What stands between the two parts.
    joint: &'static str,
    /// What a title can end with.
    right: &'static [&'static str],
}

/// The kinds of titles. Several hold the characters that HTML must escape.
#[rustfmt::skip]
const STYLES: [Style; 12] = [
    Style {
        left: &["The Silent", "The Last", "A Distant", "The Crooked", "Our Borrowed", "The Winter", "A Paper",
            "The Hollow", "One Bright", "The Forgotten"],
        joint: " ",
        right: &["Harbour", "Orchard", "Telegram", "Kingdom", "Lighthouse", "Parade", "Clockmaker", "Horizon",
            "Summer", "Witness"],
    },
    Style {
        left: &["Night Train", "Postcards", "Seven Days", "A Stranger", "The Long Road", "Letters"],
        joint: " from ",
        right: &["Nowhere", "the Observatory", "Calder Street", "the Edge of Winter", "Old Marrow",
            "the Quiet Sea"],
    },
    Style {
        left: &["Salt", "Rust", "Bread", "Thunder", "Velvet", "Ashes"],
        joint: " & ",
        right: &["Honey", "Sons", "Silver", "Smoke", "Roses", "Company"],
    },
    Style {
        left: &["Nobody's", "The Baker's", "Tomorrow's", "\"Lucky\" Malone's", "The Sailor's",
            "The 'Professor' and His"],
        joint: " ",
        right: &["Daughter", "Alibi", "Last Waltz", "Suitcase", "\"Promise\"", "Secret"],
    },
    Style {
        left: &["<Untitled>", "Exit <1>", "5 < 6", "Signal > Noise", "Q&A", "R&D"],
        joint: ": ",
        right: &["A Love Story", "The Return", "Part Two", "An Inquiry", "Director's Cut"],
    },
    Style {
        left: &["L'Été", "Le Café", "La Forêt", "Les Élèves", "Le Rêve", "La Mémoire"],
        joint: " de ",
        right: &["Montréal", "l'Étoile", "Noël", "Hélène", "la Liberté", "Sainte-Thérèse"],
    },
    Style {
        left: &["El corazón", "La canción", "El último año", "La montaña", "El jardín"],
        joint: " de ",
        right: &["Málaga", "la niña", "Sofía", "los árboles", "Asunción", "aquel otoño"],
    },
    Style {
        left: &["Die Brücke", "Das Mädchen", "Der Schlüssel", "Die Bäckerei", "Das große Haus"],
        joint: " am ",
        right: &["Müggelsee", "Königsplatz", "grünen Tor", "Ende der Straße", "Fluss"],
    },
    Style {
        left: &["沉默", "遥远", "红色", "最后", "春天", "看不见"],
        joint: "的",
        right: &["列车", "故乡", "月亮", "河流", "来信", "山谷"],
    },
    Style {
        left: &["Звёзды", "Туман", "Ветер", "Снег", "Огни", "Тишина"],
        joint: " над ",
        right: &["Невой", "морем", "городом", "Енисеем", "степью"],
    },
    Style {
        left: &["Η θάλασσα", "Το νησί", "Ο άνεμος", "Το τραγούδι", "Η σιωπή"],
        joint: " και ",
        right: &["ο ψαράς", "το φως", "η νύχτα", "ο χρόνος", "η μνήμη"],
    },
    Style {
        left: &["夏", "夜明け", "風", "雨", "東京", "さくら"],
        joint: "の",
        right: &["手紙", "灯台", "約束", "カメラ", "うた", "旅人"],
    },
];

/// Pictures at the end of a title; one is made of several code points.
const EMOJI: [&str; 5] = ["🎬", "🚲", "🌊", "👩‍🚀", "🐈"];

/// Upper bounds of the comments: most films have far fewer than the most discussed ones.
const COMMENTS: [u64; 4] = [10_000, 100_000, 1_000_000, 3_000_000];

/// The splitmix64 generator: tiny, and the same on every machine.
struct Numbers(u64);

impl Numbers {
    /// The next number, below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// The next number, below `bound`.
    fn small(&mut self, bound: u32) -> u32 {
        u32::try_from(self.below(u64::from(bound))).expect("a remainder is below its divisor, a u32")
    }

    /// One element of `list`.
    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        let index = self.below(list.len() as u64);
        &list[usize::try_from(index).expect("a remainder is below its divisor, a usize")]
    }

    /// A title; the same one can come again.
    fn title(&mut self) -> String {
        let style = self.pick(&STYLES);
        let mut title = format!("{}{}{}", self.pick(style.left), style.joint, self.pick(style.right));
        if self.below(4) == 0 {
            title = format!("{title} ({})", 1931 + self.below(93));
        }
        if self.below(15) == 0 {
            title = format!("{title} {}", self.pick(&EMOJI));
        }
        title
    }
}

/// Makes every film from the seed, in the order of the site.
fn make() -> Vec<Film> {
    let mut numbers = Numbers(SEED);
    let (mut ids, mut titles) = (HashSet::new(), HashSet::new());
    let mut films = Vec::with_capacity(FILMS as usize);
    while films.len() < FILMS as usize {
        let id = 1_000_000 + numbers.small(9_000_000);
        let title = numbers.title();
        // A film whose id or title is taken is dropped whole, so an id in `ids` may belong to none.
        if !ids.insert(id) || !titles.insert(title.clone()) {
            continue;
        }
        // A quotient is rounded as a decimal text is: reading "8.7" gives this very value again.
        let rating = f64::from(70 + numbers.small(30)) / 10.0;
        let most = *numbers.pick(&COMMENTS);
        let comments = u32::try_from(1_000 + numbers.below(most - 999)).expect("at most three million");
        films.push(Film { id, title, rating, comments });
    }
    films.sort_by(|a, b| {
        let place = |film: &Film| (Reverse(film.comments), film.id);
        b.rating.total_cmp(&a.rating).then_with(|| place(a).cmp(&place(b)))
    });
    films
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FNV-1a, which does not change with the compiler as the hasher of std may.
    fn hash(text: &str) -> u64 {
        text.bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    #[test]
    fn films_are_the_same_in_every_process() {
        assert_eq!(make(), films());
        let json = serde_json::to_string(&films()).unwrap();
        assert_eq!(hash(&json), 0xd12b_d706_512d_256a, "the films changed");
        let first = r#"[{"id":9160904,"title":"Звёзды над Енисеем","rating":9.9,"comments":670493},"#;
        assert!(json.starts_with(first), "{json}");
        let last = r#",{"id":6773352,"title":"沉默的来信 (1966) 🌊","rating":7.0,"comments":3038}]"#;
        assert!(json.ends_with(last), "{json}");
    }

    #[test]
    fn films_are_distinct_and_within_their_ranges() {
        let films = films();
        assert_eq!(films.len(), FILMS as usize);
        assert_eq!(films.iter().map(|film| film.id).collect::<HashSet<_>>().len(), films.len());
        assert_eq!(films.iter().map(|film| &film.title).collect::<HashSet<_>>().len(), films.len());
        for film in &films {
            assert!((1_000_000..10_000_000).contains(&film.id), "{film:?}");
            assert!((7.0..=9.9).contains(&film.rating), "{film:?}");
            assert!((1_000..=3_000_000).contains(&film.comments), "{film:?}");
            assert_eq!(film.title, film.title.trim());
        }
    }

    #[test]
    fn films_are_in_order() {
        for pair in films().windows(2) {
            let [a, b] = pair else { unreachable!("windows of two") };
            let later = a.rating > b.rating
                || (a.rating == b.rating
                    && (a.comments > b.comments || (a.comments == b.comments && a.id < b.id)));
            assert!(later, "{a:?} before {b:?}");
        }
    }

    #[test]
    fn ratings_survive_text_and_json() {
        for tenths in 70..=99_u32 {
            let rating = f64::from(tenths) / 10.0;
            assert_eq!(format!("{rating:.1}").parse::<f64>().unwrap(), rating);
        }
        let json = serde_json::to_string(&films()).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Film>>(&json).unwrap(), films());
    }

    #[test]
    fn titles_cover_scripts_and_markup() {
        let titles: String = films().into_iter().map(|film| film.title).collect();
        for sought in ["é", "的", "над", "και", "の", "👩‍🚀", "&", "<", ">", "\"", "'", " (19", " (20"]
        {
            assert!(titles.contains(sought), "no title with {sought}");
        }
    }

    #[test]
    fn pages_make_up_the_list() {
        let joined: Vec<_> = (0..FILMS).step_by(PAGE as usize).flat_map(page).collect();
        assert_eq!(joined, films());
        assert_eq!(page(0).len(), PAGE as usize);
        assert_eq!(page(FILMS - 3).len(), 3);
        assert_eq!(page(FILMS), []);
        assert_eq!(page(u32::MAX), []);
    }
}
