//! The regular expressions of pre-tokenizers: compiled when this crate is, matched here.
//!
//! A pattern is written as the model's `tokenizer.json` has it. [`pattern!`] turns it into a table of [`Op`]s, or
//! stops the build at what it does not know. What it knows is what these expressions use: alternatives, groups, sets
//! of characters with `\p`, `\s`, `\d`, ranges and `&&[^…]`, the quantifiers `?`, `*`, `+`, `{m,n}` and their
//! possessive forms, `(?i:…)`, `(?=…)`, `(?!…)` and `$`. All means what it means to `tokenizers`, except that a
//! repeated group gives nothing back, which no expression here could tell.
//!
//! Matching backtracks, but only over the places where a run of characters may end. Its recursion is no deeper than
//! the pattern is long, whatever the text.

use super::unicode::{ASCII_CLASSES, Class, Classes, decode, len_before};

/// A step of a match.
#[derive(Clone, Copy)]
pub(super) enum Op {
    /// Characters of a set: as many as there are between `min` and `max`. Gives some back if what follows fails,
    /// unless it `keeps` them.
    Run {
        set: u8,
        min: u16,
        max: u16,
        keeps: bool,
    },
    /// Goes on; if that fails, goes on at `other`.
    Fork {
        other: u8,
    },
    Jump {
        to: u8,
    },
    /// Goes on at `next` if what follows, up to [`Op::Done`], matches here; or, if it must not, does not.
    Look {
        must: bool,
        next: u8,
    },
    /// What follows, up to [`Op::Done`], as often as it matches between `min` and `max`; then goes on at `next`.
    Repeat {
        min: u16,
        max: u16,
        next: u8,
    },
    /// The end of the text.
    End,
    Done,
}

/// No upper limit.
const MANY: u16 = u16::MAX;

/// A jump whose goal is not yet known.
const PENDING: u8 = u8::MAX;

/// A set of characters.
#[derive(Clone, Copy)]
pub(super) struct Set {
    /// All that is said of ASCII.
    ascii: [u64; 2],
    /// Of the others: classes, ranges, and the Han script.
    classes: Classes,
    first_range: u8,
    end_range: u8,
    han: Han,
    negated: bool,
}

/// What a set says of Chinese characters, `\p{Han}`.
#[derive(Clone, Copy, PartialEq)]
enum Han {
    Unsaid,
    In,
    Out,
}

impl Set {
    /// Whether both are the same, and have no ranges of their own.
    const fn equals(&self, other: &Self) -> bool {
        self.first_range == self.end_range
            && other.first_range == other.end_range
            && self.ascii[0] == other.ascii[0]
            && self.ascii[1] == other.ascii[1]
            && self.classes.0 == other.classes.0
            && self.han as u8 == other.han as u8
            && self.negated == other.negated
    }
}

/// Where an alternative begins, and the ASCII characters with which it can.
#[derive(Clone, Copy)]
pub(super) struct Start {
    ascii: [u64; 2],
    op: u8,
    /// Its place in [`Failed`], if it has one.
    slot: u8,
}

/// How far alternatives are known not to match: those that begin with a run of any number of characters, such as
/// `\s*[\r\n]+`. Where one fails, all that can follow was tried at every place where the run can end, so that it fails
/// from each of these places too. Without this, a long run would be walked again from each of its characters.
#[derive(Default)]
pub(super) struct Failed([usize; SLOTS]);

const SLOTS: usize = 3;

/// A compiled pattern.
pub(super) struct Pattern {
    pub(super) ops: &'static [Op],
    pub(super) sets: &'static [Set],
    pub(super) ranges: &'static [[u32; 2]],
    pub(super) starts: &'static [Start],
    /// What it was compiled from, for other engines to be asked.
    #[cfg(test)]
    pub(super) text: &'static str,
}

/// A [`Pattern`] from a string literal.
macro_rules! pattern {
    ($text:expr) => {{
        const COMPILED: Compiled = Compiled::new($text);
        const OPS: [Op; COMPILED.op_count] = shrink(&COMPILED.ops);
        const SETS: [Set; COMPILED.set_count] = shrink(&COMPILED.sets);
        const RANGES: [[u32; 2]; COMPILED.range_count] = shrink(&COMPILED.ranges);
        const STARTS: [Start; COMPILED.start_count] = shrink(&COMPILED.starts);
        Pattern {
            ops: &OPS,
            sets: &SETS,
            ranges: &RANGES,
            starts: &STARTS,
            #[cfg(test)]
            text: $text,
        }
    }};
}
pub(super) use pattern;

impl Pattern {
    /// How many bytes it matches at `at`, which is in the text: 0 if it does not match there, or nothing. `failed`
    /// is for one text, whose places are asked about in ascending order.
    #[inline]
    pub(super) fn matches(&self, text: &[u8], at: usize, failed: &mut Failed) -> usize {
        let byte = text[at];
        for start in self.starts {
            if byte < 0x80 && !has(&start.ascii, byte) {
                continue;
            }
            if let Some(&until) = failed.0.get(usize::from(start.slot))
                && at < until
            {
                continue;
            }
            match self.run(usize::from(start.op), text, at) {
                Some(end) if end > at => return end - at,
                Some(_) => {}
                None => self.note(start, text, at, failed),
            }
        }
        0
    }

    /// Notes that an alternative does not match at `at`, nor at any place to which its first run of characters goes.
    fn note(&self, start: &Start, text: &[u8], at: usize, failed: &mut Failed) {
        if let Some(until) = failed.0.get_mut(usize::from(start.slot))
            && let Op::Run { set, .. } = self.ops[usize::from(start.op)]
        {
            *until = self.run_end(&self.sets[usize::from(set)], text, at, usize::MAX).0;
        }
    }

    /// Where a match ends that goes on with `op` at `at`.
    fn run(&self, mut op: usize, text: &[u8], mut at: usize) -> Option<usize> {
        loop {
            match self.ops[op] {
                Op::Done => return Some(at),
                Op::Run { set, min, max, keeps } => {
                    let set = &self.sets[usize::from(set)];
                    let most = if max == MANY { usize::MAX } else { usize::from(max) };
                    let (end, mut count) = self.run_end(set, text, at, most);
                    let min = usize::from(min);
                    if count < min {
                        return None;
                    }
                    at = end;
                    if !keeps && count > min && !matches!(self.ops[op + 1], Op::Done) {
                        loop {
                            if let Some(end) = self.run(op + 1, text, at) {
                                return Some(end);
                            }
                            if count == min {
                                return None;
                            }
                            count -= 1;
                            at -= if text[at - 1] < 0x80 { 1 } else { len_before(text, at) };
                        }
                    }
                    op += 1;
                }
                Op::Fork { other } => {
                    if let Some(end) = self.run(op + 1, text, at) {
                        return Some(end);
                    }
                    op = usize::from(other);
                }
                Op::Jump { to } => op = usize::from(to),
                Op::Look { must, next } => {
                    if self.run(op + 1, text, at).is_some() != must {
                        return None;
                    }
                    op = usize::from(next);
                }
                Op::Repeat { min, max, next } => {
                    let mut count = 0;
                    while count < max
                        && let Some(end) = self.run(op + 1, text, at)
                        && end > at
                    {
                        at = end;
                        count = if max == MANY { 1 } else { count + 1 };
                    }
                    if count < min {
                        return None;
                    }
                    op = usize::from(next);
                }
                Op::End if at < text.len() => return None,
                Op::End => op += 1,
            }
        }
    }

    /// Where the characters of a set end that begin at `at`, and how many they are, of `most`.
    #[inline]
    fn run_end(&self, set: &Set, text: &[u8], mut at: usize, most: usize) -> (usize, usize) {
        let mut count = 0;
        while count < most
            && let Some(&byte) = text.get(at)
        {
            if byte < 0x80 {
                if !has(&set.ascii, byte) {
                    break;
                }
                at += 1;
            } else {
                let len = self.wide(set, &text[at..]);
                if len == 0 {
                    break;
                }
                at += len;
            }
            count += 1;
        }
        (at, count)
    }

    /// The length of the first character, which is not ASCII, if it is in the set; else 0.
    fn wide(&self, set: &Set, text: &[u8]) -> usize {
        let decoded = decode(text);
        let (point, len) = decoded.unwrap_or((u32::MAX, 1));
        let class = decoded.map_or(Class::Unassigned, |(point, _)| Class::of(point));
        let ranges = &self.ranges[usize::from(set.first_range)..usize::from(set.end_range)];
        let found = set.classes.contains(class)
            || ranges.iter().any(|range| (range[0]..=range[1]).contains(&point))
            || set.han == Han::In && is_han(point);
        let found = found != set.negated && !(set.han == Han::Out && is_han(point));
        if found { len } else { 0 }
    }
}

#[inline]
const fn has(ascii: &[u64; 2], byte: u8) -> bool {
    ascii[(byte >> 6) as usize] >> (byte & 63) & 1 != 0
}

/// The script Han in Unicode 15.1.
const HAN: [[u32; 2]; 21] = [
    [0x2e80, 0x2e99],
    [0x2e9b, 0x2ef3],
    [0x2f00, 0x2fd5],
    [0x3005, 0x3005],
    [0x3007, 0x3007],
    [0x3021, 0x3029],
    [0x3038, 0x303b],
    [0x3400, 0x4dbf],
    [0x4e00, 0x9fff],
    [0xf900, 0xfa6d],
    [0xfa70, 0xfad9],
    [0x16fe2, 0x16fe3],
    [0x16ff0, 0x16ff1],
    [0x20000, 0x2a6df],
    [0x2a700, 0x2b739],
    [0x2b740, 0x2b81d],
    [0x2b820, 0x2cea1],
    [0x2ceb0, 0x2ebe0],
    [0x2ebf0, 0x2ee5d],
    [0x2f800, 0x2fa1d],
    [0x30000, 0x323af],
];

fn is_han(point: u32) -> bool {
    HAN.iter().any(|range| (range[0]..=range[1]).contains(&point))
}

/// A pattern in the making, with room for more than any needs. Exists in the compiler alone.
pub(super) struct Compiled {
    pub(super) ops: [Op; 128],
    pub(super) op_count: usize,
    pub(super) sets: [Set; 64],
    pub(super) set_count: usize,
    pub(super) ranges: [[u32; 2]; 128],
    pub(super) range_count: usize,
    pub(super) starts: [Start; 16],
    pub(super) start_count: usize,
}

/// The first elements of a longer array.
pub(super) const fn shrink<T: Copy, const N: usize>(all: &[T]) -> [T; N] {
    let (first, _) = all.split_at(N);
    match first.first_chunk() {
        Some(chunk) => *chunk,
        None => unreachable!(),
    }
}

const EMPTY: Set = Set {
    ascii: [0; 2],
    classes: Classes::NONE,
    first_range: 0,
    end_range: 0,
    han: Han::Unsaid,
    negated: false,
};

/// The text of a pattern and how far it is read.
struct Source<'t> {
    text: &'t [u8],
    at: usize,
    /// Within `(?i:…)`.
    any_case: bool,
}

impl Source<'_> {
    const fn peek(&self) -> u8 {
        if self.at < self.text.len() { self.text[self.at] } else { 0 }
    }

    /// Takes `word`, if it comes next.
    const fn take(&mut self, word: &[u8]) -> bool {
        let mut at = 0;
        while at < word.len() {
            if self.at + at >= self.text.len() || self.text[self.at + at] != word[at] {
                return false;
            }
            at += 1;
        }
        self.at += word.len();
        true
    }

    /// Takes a character as it stands.
    const fn character(&mut self) -> u32 {
        let first = self.text[self.at] as u32;
        let len = match first {
            0..0x80 => 1,
            0x80..0xe0 => 2,
            0xe0..0xf0 => 3,
            _ => 4,
        };
        let mut point = if len == 1 { first } else { first & (0x7f >> len) };
        let mut at = 1;
        while at < len {
            point = point << 6 | (self.text[self.at + at] & 0x3f) as u32;
            at += 1;
        }
        self.at += len;
        point
    }

    const fn number(&mut self) -> u16 {
        let mut number = 0;
        while self.peek().is_ascii_digit() {
            number = number * 10 + (self.peek() - b'0') as u16;
            self.at += 1;
        }
        number
    }
}

impl Compiled {
    pub(super) const fn new(text: &str) -> Self {
        let mut compiled = Self {
            ops: [Op::Done; 128],
            op_count: 0,
            sets: [EMPTY; 64],
            set_count: 0,
            ranges: [[0; 2]; 128],
            range_count: 0,
            starts: [Start { ascii: [0; 2], op: 0, slot: 0 }; 16],
            start_count: 0,
        };
        let mut source = Source { text: text.as_bytes(), at: 0, any_case: false };
        let mut slots = 0;
        loop {
            let op = compiled.op_count;
            compiled.sequence(&mut source);
            compiled.push(Op::Done);
            let ascii = compiled.first(op);
            let mut slot = SLOTS as u8;
            if let (Op::Run { min: 0 | 1, max: MANY, .. }, false) =
                (compiled.ops[op], matches!(compiled.ops[op + 1], Op::Done))
            {
                slot = slots;
                slots += 1;
                assert!(slots <= SLOTS as u8, "too many alternatives begin with a run");
            }
            compiled.starts[compiled.start_count] = Start { ascii, op: op as u8, slot };
            compiled.start_count += 1;
            if !source.take(b"|") {
                break;
            }
        }
        assert!(source.at == source.text.len(), "a bracket closes that did not open");
        compiled
    }

    const fn push(&mut self, op: Op) {
        self.ops[self.op_count] = op;
        self.op_count += 1;
    }

    /// Alternatives up to the end of a group. Each but the last is tried by a fork and jumps behind the group.
    const fn alternatives(&mut self, source: &mut Source<'_>) {
        let first = self.op_count;
        loop {
            let fork = self.op_count;
            self.push(Op::Fork { other: PENDING });
            self.sequence(source);
            if !source.take(b"|") {
                // The last one needs no fork: a jump to what follows it takes that place.
                self.ops[fork] = Op::Jump { to: fork as u8 + 1 };
                break;
            }
            self.push(Op::Jump { to: PENDING });
            self.ops[fork] = Op::Fork { other: self.op_count as u8 };
        }
        let mut at = first;
        while at < self.op_count {
            if matches!(self.ops[at], Op::Jump { to: PENDING }) {
                self.ops[at] = Op::Jump { to: self.op_count as u8 };
            }
            at += 1;
        }
    }

    const fn sequence(&mut self, source: &mut Source<'_>) {
        while source.at < source.text.len() && source.peek() != b'|' && source.peek() != b')' {
            if source.take(b"$") {
                self.push(Op::End);
            } else if source.take(b"(?!") {
                self.look(source, false);
            } else if source.take(b"(?=") {
                self.look(source, true);
            } else if source.take(b"(?i:") {
                source.any_case = true;
                self.group(source);
                source.any_case = false;
            } else if source.take(b"(?:") || source.take(b"(") {
                self.group(source);
            } else {
                let set = self.set(source);
                let set = self.place(set);
                let (min, max) = quantifier(source);
                let keeps = source.take(b"+");
                self.push(Op::Run { set, min, max, keeps });
            }
        }
    }

    const fn look(&mut self, source: &mut Source<'_>, must: bool) {
        let look = self.op_count;
        self.push(Op::Done);
        self.alternatives(source);
        assert!(source.take(b")"), "a group does not end");
        self.push(Op::Done);
        self.ops[look] = Op::Look { must, next: self.op_count as u8 };
    }

    const fn group(&mut self, source: &mut Source<'_>) {
        // Takes the place of what the quantifier behind the group makes of it.
        let before = self.op_count;
        self.push(Op::Jump { to: before as u8 + 1 });
        self.alternatives(source);
        assert!(source.take(b")"), "a group does not end");
        match quantifier(source) {
            (1, 1) => {}
            (0, 1) => self.ops[before] = Op::Fork { other: self.op_count as u8 },
            (min, max) => {
                self.push(Op::Done);
                self.ops[before] = Op::Repeat { min, max, next: self.op_count as u8 };
            }
        }
    }

    /// The place of a set, which patterns repeat: the one that it has already, or a new one.
    const fn place(&mut self, set: Set) -> u8 {
        let mut at = 0;
        while at < self.set_count && !self.sets[at].equals(&set) {
            at += 1;
        }
        if at == self.set_count {
            self.sets[at] = set;
            self.set_count += 1;
        }
        at as u8
    }

    /// A character, an escape or a set in brackets.
    const fn set(&mut self, source: &mut Source<'_>) -> Set {
        let mut set = EMPTY;
        set.first_range = self.range_count as u8;
        if source.take(b"[") {
            set.negated = source.take(b"^");
            while !source.take(b"]") {
                if source.take(b"&&[^\\p{Han}]") {
                    set.han = Han::Out;
                } else {
                    self.member(source, &mut set);
                }
            }
        } else {
            self.member(source, &mut set);
        }
        set.end_range = self.range_count as u8;
        if set.negated {
            set.ascii = [!set.ascii[0], !set.ascii[1]];
        }
        set
    }

    /// Adds what comes next to a set: a class, a character or a range.
    const fn member(&mut self, source: &mut Source<'_>, set: &mut Set) {
        let classes = if source.take(b"\\s") {
            Classes::SPACE
        } else if source.take(b"\\S") {
            Classes::ALL.without(Classes::SPACE)
        } else if source.take(b"\\d") {
            Classes::DIGIT
        } else if source.take(b"\\p{L}") {
            Classes::LETTERS
        } else if source.take(b"\\p{Lu}") {
            Classes::of(&[Class::Upper])
        } else if source.take(b"\\p{Ll}") {
            Classes::of(&[Class::Lower])
        } else if source.take(b"\\p{Lt}") {
            Classes::of(&[Class::Title])
        } else if source.take(b"\\p{Lm}") {
            Classes::of(&[Class::Modifier])
        } else if source.take(b"\\p{Lo}") {
            Classes::of(&[Class::Letter])
        } else if source.take(b"\\p{M}") {
            Classes::MARKS
        } else if source.take(b"\\p{N}") {
            Classes::NUMBERS
        } else if source.take(b"\\p{P}") {
            Classes::PUNCTUATION
        } else if source.take(b"\\p{S}") {
            Classes::of(&[Class::Symbol])
        } else if source.take(b"\\p{Han}") {
            set.han = Han::In;
            return;
        } else {
            return self.characters(source, set);
        };
        set.classes = set.classes.with(classes);
        let mut byte = 0;
        while byte < 128 {
            if classes.contains(ASCII_CLASSES[byte]) {
                set.ascii[byte >> 6] |= 1 << (byte & 63);
            }
            byte += 1;
        }
    }

    /// A character, or two and a `-` between them.
    const fn characters(&mut self, source: &mut Source<'_>, set: &mut Set) {
        let first = literal(source);
        let after = source.at + 1;
        let ranges = source.peek() == b'-' && after < source.text.len() && source.text[after] != b']';
        let last = if ranges {
            source.at = after;
            literal(source)
        } else {
            first
        };
        assert!(first <= last, "a range runs backwards");
        let mut point = first;
        while point <= last && point < 128 {
            let byte = point as u8;
            add_ascii(set, byte);
            if source.any_case {
                add_ascii(set, byte.to_ascii_uppercase());
                add_ascii(set, byte.to_ascii_lowercase());
            }
            point += 1;
        }
        if source.any_case && first == b's' as u32 {
            // The long s is one more way to write it.
            self.add_range(0x17f, 0x17f);
        }
        if last >= 128 {
            self.add_range(if first < 128 { 128 } else { first }, last);
        }
    }

    const fn add_range(&mut self, first: u32, last: u32) {
        self.ranges[self.range_count] = [first, last];
        self.range_count += 1;
    }

    /// The ASCII characters with which a match from `op` on can begin.
    const fn first(&self, mut op: usize) -> [u64; 2] {
        let mut found = [0; 2];
        loop {
            match self.ops[op] {
                Op::Run { set, min, .. } => {
                    found = union(found, self.sets[set as usize].ascii);
                    if min > 0 {
                        return found;
                    }
                    op += 1;
                }
                Op::Fork { other } => {
                    found = union(found, self.first(op + 1));
                    op = other as usize;
                }
                Op::Jump { to } => op = to as usize,
                Op::Repeat { min, next, .. } => {
                    found = union(found, self.first(op + 1));
                    if min > 0 {
                        return found;
                    }
                    op = next as usize;
                }
                Op::Look { .. } | Op::End | Op::Done => return [u64::MAX; 2],
            }
        }
    }
}

const fn union(a: [u64; 2], b: [u64; 2]) -> [u64; 2] {
    [a[0] | b[0], a[1] | b[1]]
}

const fn add_ascii(set: &mut Set, byte: u8) {
    set.ascii[(byte >> 6) as usize] |= 1 << (byte & 63);
}

/// A character, which a backslash may stand before.
const fn literal(source: &mut Source<'_>) -> u32 {
    if !source.take(b"\\") {
        return source.character();
    }
    match source.character() as u8 {
        b'r' => b'\r' as u32,
        b'n' => b'\n' as u32,
        b't' => b'\t' as u32,
        sign => {
            assert!(sign.is_ascii_punctuation(), "an escape that is not known");
            sign as u32
        }
    }
}

/// How often what comes before may occur.
const fn quantifier(source: &mut Source<'_>) -> (u16, u16) {
    if source.take(b"?") {
        (0, 1)
    } else if source.take(b"*") {
        (0, MANY)
    } else if source.take(b"+") {
        (1, MANY)
    } else if source.take(b"{") {
        let min = source.number();
        let max = if source.take(b",") { source.number() } else { min };
        assert!(source.take(b"}") && min <= max && max > 0, "a quantifier that is not known");
        (min, max)
    } else {
        (1, 1)
    }
}
