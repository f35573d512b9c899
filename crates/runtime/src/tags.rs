//! Finding tags in text that comes piece by piece.

/// Text that came and was not handed on, because it may hold a tag or the beginning of one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending {
    text: String,
}

/// What a look into pending text gives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Text before a tag, and which tag it was.
    Tag(String, usize),
    /// No tag is complete: text that belongs to none, whatever comes.
    Text(String),
}

impl Pending {
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Takes text up to the first of `tags` away, and the tag; or all that can be no part of one. No tag may be part of
    /// another one: the first to end is then the first to begin, however the text is cut.
    pub fn next(&mut self, tags: &[&str]) -> Found {
        let places = tags.iter().enumerate().filter_map(|(index, tag)| Some((self.text.find(tag)?, index)));
        if let Some((at, index)) = places.min() {
            let rest = self.text.split_off(at + tags[index].len());
            self.text.truncate(at);
            return Found::Tag(std::mem::replace(&mut self.text, rest), index);
        }
        let held = tags.iter().map(|tag| common(&self.text, tag)).max().unwrap_or(0);
        let rest = self.text.split_off(self.text.len() - held);
        Found::Text(std::mem::replace(&mut self.text, rest))
    }

    /// Takes all that is left: nothing more comes.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.text)
    }
}

/// The length of the longest end of `text` with which `tag` begins, but for the whole tag.
fn common(text: &str, tag: &str) -> usize {
    let ends = tag.char_indices().map(|(at, _)| at).rev();
    ends.into_iter().find(|&len| text.ends_with(&tag[..len])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Found, Pending};

    #[test]
    fn only_what_may_be_a_tag_is_held_back() {
        let mut pending = Pending::default();
        pending.push("a <b <｜");
        assert_eq!(pending.next(&["<｜x｜>"]), Found::Text("a <b ".into()));
        pending.push("x｜> c");
        assert_eq!(pending.next(&["<｜x｜>"]), Found::Tag(String::new(), 0));
        assert_eq!(pending.next(&["<｜x｜>"]), Found::Text(" c".into()));
        pending.push("<");
        assert_eq!(pending.next(&["<x>", "<y>"]), Found::Text(String::new()));
        pending.push("y><x>");
        assert_eq!(pending.next(&["<x>", "<y>"]), Found::Tag(String::new(), 1));
        assert_eq!(pending.next(&["<x>", "<y>"]), Found::Tag(String::new(), 0));
        assert_eq!(pending.finish(), "");
    }
}
