//! The last lines of a text that comes in pieces, wrapped at words.
//!
//! In: text. Out: lines of at most so many columns, of which as many are kept as a display has rows; older ones scroll away.
//! Characters are those of ISO 8859-1, which fonts for small displays have: quotation marks, dashes and dots that it lacks
//! become those that it has, and anything else a question mark.

/// Lines of a text; at most `COLUMNS` wide, and `ROWS` of them.
#[derive(Clone, Debug)]
pub struct Lines<const COLUMNS: usize, const ROWS: usize> {
    characters: [[u8; COLUMNS]; ROWS],
    lens: [usize; ROWS],
    /// Where in the two the last line is; the others stand before it, in a ring.
    last: usize,
    /// How many lines there are.
    count: usize,
    columns: usize,
    rows: usize,
    /// Whether the last line goes on with words of the one before: it does not begin with a space.
    wrapped: bool,
}

impl<const COLUMNS: usize, const ROWS: usize> Lines<COLUMNS, ROWS> {
    /// No text yet, of as many columns and rows as are wanted, if there is room for them; at least one of each.
    pub fn new(columns: usize, rows: usize) -> Self {
        const { assert!(COLUMNS > 0 && ROWS > 0, "a line of one column at least") };
        Self {
            characters: [[0; COLUMNS]; ROWS],
            lens: [0; ROWS],
            last: 0,
            count: 1,
            columns: columns.clamp(1, COLUMNS),
            rows: rows.clamp(1, ROWS),
            wrapped: false,
        }
    }

    /// Forgets the text.
    pub fn clear(&mut self) {
        *self = Self::new(self.columns, self.rows);
    }

    /// Adds text.
    pub fn add(&mut self, text: &str) {
        text.chars().for_each(|character| match character {
            '\u{2018}' | '\u{2019}' | '\u{201a}' => self.push(b'\''),
            '\u{201c}' | '\u{201d}' | '\u{201e}' => self.push(b'"'),
            '\u{2010}'..='\u{2015}' | '\u{2212}' => self.push(b'-'),
            '\u{2026}' => (0..3).for_each(|_| self.push(b'.')),
            '\u{2022}' => self.push(b'\xb7'),
            '\t' | '\u{a0}' | '\u{2007}' | '\u{202f}' => self.push(b' '),
            '\n' | ' '..='~' | '\u{a1}'..='\u{ff}' => self.push(character as u8),
            // Control characters, and parts of what was written already.
            '\0'..' ' | '\u{7f}'..='\u{9f}' | '\u{200b}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}' => {}
            _ => self.push(b'?'),
        });
    }

    /// The lines, from the first that is kept; a line is bytes of ISO 8859-1.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.count).map(|line| {
            let at = (self.last + self.rows + 1 - self.count + line) % self.rows;
            &self.characters[at][..self.lens[at]]
        })
    }

    fn push(&mut self, byte: u8) {
        let len = self.lens[self.last];
        match byte {
            b'\n' => self.begin_line(false),
            // What separates two words at the end of a line is its end.
            b' ' if len == self.columns => self.begin_line(true),
            b' ' if len == 0 && self.wrapped => {}
            _ if len < self.columns => {
                self.characters[self.last][len] = byte;
                self.lens[self.last] += 1;
            }
            _ => {
                let line = self.characters[self.last];
                // A word as long as the line is cut.
                let word = line[..len].iter().rposition(|&byte| byte == b' ').map_or(len, |space| space + 1);
                self.lens[self.last] = if word == len { len } else { word - 1 };
                self.begin_line(true);
                let rest = &line[word..len];
                self.characters[self.last][..rest.len()].copy_from_slice(rest);
                self.characters[self.last][rest.len()] = byte;
                self.lens[self.last] = rest.len() + 1;
            }
        }
    }

    fn begin_line(&mut self, wrapped: bool) {
        self.last = (self.last + 1) % self.rows;
        self.lens[self.last] = 0;
        self.count = self.rows.min(self.count + 1);
        self.wrapped = wrapped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    /// The lines of a text on a display of ten columns and three rows, which comes in pieces of so many characters.
    fn lines(text: &str, piece: usize) -> Vec<String> {
        let mut lines = Lines::<12, 8>::new(10, 3);
        let characters: Vec<char> = text.chars().collect();
        characters.chunks(piece).for_each(|piece| lines.add(&piece.iter().collect::<String>()));
        lines.iter().map(|line| line.iter().map(|&byte| char::from(byte)).collect()).collect()
    }

    fn check(text: &str, expected: &[&str]) {
        for piece in [1, 2, 3, 100] {
            assert_eq!(lines(text, piece), expected, "{text:?} in pieces of {piece}");
        }
    }

    #[test]
    fn text_is_wrapped_at_words() {
        check("", &[""]);
        check("one two", &["one two"]);
        check("one two three", &["one two", "three"]);
        check("0123456789 x", &["0123456789", "x"]);
        check("012345678  x", &["012345678 ", "x"]);
        check("a\n\n b", &["a", "", " b"]);
    }

    #[test]
    fn words_that_are_longer_than_a_line_are_cut() {
        check("0123456789abc d", &["0123456789", "abc d"]);
        check("x 0123456789abc", &["x", "0123456789", "abc"]);
    }

    #[test]
    fn old_lines_scroll_away() {
        check("a\nb\nc\nd\ne", &["c", "d", "e"]);
        check("a\nb\nc\n", &["b", "c", ""]);
    }

    #[test]
    fn characters_are_those_that_fonts_have() {
        check("„é“ – ‘x’…", &["\"é\" -", "'x'..."]);
        check("5 °C\u{7}\u{200d}", &["5 °C"]);
        check("日本 🙂", &["?? ?"]);
    }
}
