//! `tokenizer.model`: the vocabulary of SentencePiece, as some folders have it beside `tokenizer.json`.
//!
//! In: the file, a message of protocol buffers. Out: its pieces with scores and kinds. Source: `sentencepiece_model.proto` of
//! google/sentencepiece, and the encoding of protocol buffers (protobuf.dev/programming-guides/encoding).

/// A piece: a token.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    /// As GGUF files number the kinds, which is as SentencePiece does.
    pub(super) kind: i32,
}

/// All pieces of a file, or nothing where it is damaged.
pub(super) fn pieces(file: &[u8]) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    for field in Fields(file) {
        if let (1, Field::Bytes(message)) = field? {
            pieces.push(piece(message)?);
        }
    }
    (!pieces.is_empty()).then_some(pieces)
}

fn piece(message: &[u8]) -> Option<Piece> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: 1 };
    for field in Fields(message) {
        match field? {
            (1, Field::Bytes(text)) => piece.text = String::from_utf8(text.to_vec()).ok()?,
            (2, Field::Fixed(bits)) => piece.score = f32::from_bits(bits),
            (3, Field::Number(kind)) => piece.kind = i32::try_from(kind).ok()?,
            _ => {}
        }
    }
    Some(piece)
}

/// What a field holds.
enum Field<'a> {
    Number(u64),
    Fixed(u32),
    Bytes(&'a [u8]),
    Other,
}

/// The fields of a message, each with its number; `None` where it is damaged, which is the last then.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = self.number()?;
        let field = match tag & 7 {
            0 => Field::Number(self.number()?),
            1 => {
                self.take(8)?;
                Field::Other
            }
            2 => {
                let len = self.number()?;
                Field::Bytes(self.take(len)?)
            }
            5 => Field::Fixed(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((tag >> 3, field))
    }

    /// Seven bits in a byte, the lowest first; the top bit says that more follow.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Field<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_and_a_cut_is_seen() {
        // Two pieces, the second a control token; then a field of another kind.
        let file = b"\x0a\x08\x0a\x01a\x15\0\0\x80\xbf\x0a\x0a\x0a\x03<s>\x15\0\0\0\0\x18\x03\x10\x05";
        let file = [&file[..2], &file[2..10], b"\x0a\x0c", &file[12..24], b"\x10\x05"].concat();
        let found = pieces(&file).unwrap();
        let expected = [("a", -1.0, 1), ("<s>", 0.0, 3)].map(|(text, score, kind)| Piece {
            text: text.into(),
            score,
            kind,
        });
        assert_eq!(found, expected);
        for cut in 1..file.len() {
            // Between two fields a file may end.
            let ends = [10, 24, 26];
            assert_eq!(pieces(&file[..cut]).is_some(), ends.contains(&cut), "cut to {cut} bytes");
        }
        assert_eq!(pieces(&[0xff; 40]), None);
        assert_eq!(pieces(b""), None);
    }
}
