//! Joins pieces into text: a character may be spread over several tokens, and a reader should never see half of one.

use core::str::from_utf8;

/// Makes valid UTF-8 out of pieces, as they come.
///
/// Bytes that may still become a character are held back, three at most. What can become none is replaced by U+FFFD,
/// one for each maximal part, as [`String::from_utf8_lossy`](https://doc.rust-lang.org/std/string/struct.String.html#method.from_utf8_lossy)
/// does.
///
/// ```
/// use stonechat_core::vocabulary::Utf8Stream;
///
/// let mut text = Vec::new();
/// let mut stream = Utf8Stream::new();
/// for piece in [&b"caf\xc3"[..], b"\xa9 \xf0\x9f", b"\xa6", b"\x99"] {
///     stream.push(piece, &mut |part| text.push(part.to_owned()));
/// }
/// stream.finish(&mut |part| text.push(part.to_owned()));
/// assert_eq!(text, ["caf", "é", " ", "🦙"]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Utf8Stream {
    held: [u8; 4],
    len: usize,
}

impl Utf8Stream {
    /// A stream that holds nothing.
    pub const fn new() -> Self {
        Self { held: [0; 4], len: 0 }
    }

    /// Takes a piece and hands out the text that is complete with it, in parts that are not empty.
    pub fn push(&mut self, mut piece: &[u8], out: &mut dyn FnMut(&str)) {
        while self.len > 0 {
            let Some((&byte, rest)) = piece.split_first() else { return };
            self.held[self.len] = byte;
            match from_utf8(&self.held[..=self.len]) {
                Ok(text) => out(text),
                Err(error) if error.error_len().is_none() => {
                    self.len += 1;
                    piece = rest;
                    continue;
                }
                // What was held was the beginning of a character, so that only this byte can be wrong: it is looked
                // at again below.
                Err(_) => {
                    out("\u{fffd}");
                    self.len = 0;
                    continue;
                }
            }
            self.len = 0;
            piece = rest;
        }
        while !piece.is_empty() {
            let (valid, invalid) = match from_utf8(piece) {
                Ok(text) => return out(text),
                Err(error) => (error.valid_up_to(), error.error_len()),
            };
            let (text, rest) = piece.split_at(valid);
            if let Ok(text) = from_utf8(text)
                && !text.is_empty()
            {
                out(text);
            }
            let Some(invalid) = invalid else {
                self.held[..rest.len()].copy_from_slice(rest);
                self.len = rest.len();
                return;
            };
            out("\u{fffd}");
            piece = &rest[invalid..];
        }
    }

    /// Ends the text: what is still held back can no longer become a character.
    pub fn finish(&mut self, out: &mut dyn FnMut(&str)) {
        if self.len > 0 {
            self.len = 0;
            out("\u{fffd}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    proptest::proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_the_text_that_rust_makes_of_them(
            pieces in proptest::collection::vec(
                proptest::collection::vec(
                    proptest::sample::select(&b"a\x80\xbf\xc3\xa9\xe2\x82\xac\xf0\x9f\xa6\x99\xff\xed\xf4\xc0"[..]),
                    0..6,
                ),
                0..12,
            ),
        ) {
            let whole: Vec<u8> = pieces.concat();
            let mut text = String::new();
            let mut stream = Utf8Stream::new();
            let mut out = |part: &str| {
                assert!(!part.is_empty());
                text.push_str(part);
            };
            for piece in &pieces {
                stream.push(piece, &mut out);
            }
            stream.finish(&mut out);
            proptest::prop_assert_eq!(text, String::from_utf8_lossy(&whole));
        }
    }
}
