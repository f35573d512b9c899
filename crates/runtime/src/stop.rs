//! Texts that end an answer, wherever tokens part them.
//!
//! In: text as it comes. Out: the text that can no longer be part of a stop text, until one is complete.

/// Looks for stop texts.
#[derive(Debug)]
pub struct Stop {
    texts: Vec<String>,
    held: String,
}

impl Stop {
    /// Stops at any of these; empty ones are passed over.
    pub fn new(texts: &[String]) -> Self {
        Self { texts: texts.iter().filter(|text| !text.is_empty()).cloned().collect(), held: String::new() }
    }

    /// Takes text; adds to `out` what is certain. Whether a stop text is complete: then nothing more is to come.
    pub fn push(&mut self, text: &str, out: &mut String) -> bool {
        self.held.push_str(text);
        let found = self.texts.iter().filter_map(|text| self.held.find(text.as_str())).min();
        let certain = found.unwrap_or_else(|| {
            let starts = self.held.char_indices().map(|(at, _)| at);
            // From where on all that is held may be the beginning of a stop text.
            let open = |at: &usize| self.texts.iter().any(|text| text.starts_with(&self.held[*at..]));
            starts.into_iter().find(open).unwrap_or(self.held.len())
        });
        out.push_str(&self.held[..certain]);
        self.held.drain(..certain);
        if found.is_some() {
            self.held.clear();
        }
        found.is_some()
    }

    /// What was held back, now that nothing more comes.
    pub fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes through, and whether a stop text was found, for pieces of `size` bytes.
    fn through(texts: &[&str], text: &str, size: usize) -> (String, bool) {
        let texts: Vec<_> = texts.iter().map(|&text| text.to_owned()).collect();
        let (mut stop, mut out, mut stopped) = (Stop::new(&texts), String::new(), false);
        let mut rest = text;
        while !rest.is_empty() && !stopped {
            let len = (size..=rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
            stopped = stop.push(&rest[..len], &mut out);
            rest = &rest[len..];
        }
        stop.finish(&mut out);
        (out, stopped)
    }

    #[test]
    fn a_stop_text_is_found_however_it_is_cut() {
        for size in 1..12 {
            assert_eq!(through(&["END"], "the END is near", size), ("the ".to_owned(), true), "{size}");
            assert_eq!(through(&["\n\nUser:", "###"], "a\n\nUse\n\nUser: b", size).0, "a\n\nUse", "{size}");
            assert_eq!(through(&["aab"], "xaaab", size), ("xa".to_owned(), true), "{size}");
            assert_eq!(through(&["é!"], "caféé!", size), ("café".to_owned(), true), "{size}");
        }
    }

    #[test]
    fn what_only_begins_like_one_comes_through() {
        for size in 1..12 {
            for text in ["EN", "the EN", "", "ENENE", "no end"] {
                assert_eq!(through(&["END", ""], text, size), (text.to_owned(), false), "{size}");
            }
        }
    }

    #[test]
    fn of_two_the_first_in_the_text_counts() {
        assert_eq!(through(&["later", "first"], "a first, later", 14).0, "a ");
    }
}
