//! The shortest way to complete an answer, from wherever it stands.
//!
//! In: a compiled grammar, and the bytes of the answer. Out: how few bytes complete it, and these bytes. An Earley parser of
//! lexemes beside that of llguidance, whose rows nobody sees, and simpler: it computes no masks and need not be strict
//! about white space. For each symbol it knows beforehand the fewest bytes that make it (Knuth 1977, "A generalization of
//! Dijkstra's algorithm"); each row knows for each symbol that may be complete later how few bytes follow then; and a search
//! through the lexer's states knows how few complete a lexeme. The sum is exact unless lexemes swallow what should follow
//! them; then it is a lower bound, and a search of limited length looks for a way.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

use llguidance::api::ParserLimits;
use llguidance::derivre::StateID;
use llguidance::earley::lexerspec::LexemeIdx;
use llguidance::earley::regexvec::{LexemeSet, RegexVec};
use llguidance::earley::{CGrammar, CSymIdx};

/// More bytes than any answer has: there is no way.
pub(super) const NEVER: u32 = u32::MAX / 4;
/// Why there is no shortest completion of some grammars.
const MORE_THAN_BYTES: &str = "it has special tokens, parameters, stop= or max_tokens=, with which no answer can be completed; leave them out";
pub(super) const TOO_COMPLEX: &str = "it is too complex; simplify it";
/// States of the lexer that a search for the end of a lexeme visits at most.
const MOST_STATES: usize = 50_000;
/// Places that the search for a way visits at most where the sum is only a lower bound.
const MOST_PLACES: usize = 4_000;

/// See the [module](self).
#[derive(Clone)]
pub(super) struct Shortest {
    rules: Rules,
    lexer: RegexVec,
    limits: ParserLimits,
    rows: Vec<Row>,
    /// Where the lexer stands in the last row, and whether a lexeme has begun there.
    state: StateID,
    begun: bool,
    /// The fewest bytes that complete a lexeme from a state, and the first of them.
    rests: HashMap<(StateID, LexemeIdx), (u32, u8)>,
}

/// A place to come back to.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    rows: usize,
    state: StateID,
    begun: bool,
}

/// The grammar, as far as it is reached.
#[derive(Clone)]
struct Rules {
    start: CSymIdx,
    symbols: HashMap<CSymIdx, Symbol>,
    /// What stands at each place of the rules; each rule ends with a place without a symbol.
    places: Vec<Place>,
    /// White space and the like, which llguidance lets pass between lexemes.
    skips: Vec<LexemeIdx>,
    /// The fewest bytes of each lexeme.
    lexemes: Vec<u32>,
}

#[derive(Clone)]
struct Symbol {
    lexeme: Option<LexemeIdx>,
    may_be_empty: bool,
    rules: Vec<usize>,
    /// The fewest bytes that make it.
    fewest: u32,
}

#[derive(Clone, Copy)]
struct Place {
    symbol: Option<CSymIdx>,
    /// What the rule makes.
    makes: CSymIdx,
    /// The fewest bytes from here to the end of the rule.
    rest: u32,
}

/// A rule that is read up to a place, from a row on.
type Item = (usize, usize);

/// What may come after a number of lexemes.
#[derive(Clone)]
struct Row {
    items: Vec<Item>,
    /// The fewest bytes that follow a symbol which began here, once it is complete.
    after: HashMap<CSymIdx, u32>,
    /// Lexemes that may come, and the fewest bytes that follow them.
    lexemes: Vec<(LexemeIdx, u32)>,
    /// The lexer's state before any of them.
    start: StateID,
    /// The fewest bytes that complete the answer from here.
    fewest: u32,
}

impl Shortest {
    /// For answers to a grammar, none of which has begun. An error where it asks for more than bytes (parameters, special
    /// tokens, limits in tokens, or text that is taken back), or for more than can be computed.
    pub(super) fn new(grammar: &CGrammar, limits: &ParserLimits) -> Result<Self, &'static str> {
        let spec = grammar.lexer_spec();
        if grammar.parametric() || spec.special_token_rx.is_some() || !spec.can_rollback() {
            return Err(MORE_THAN_BYTES);
        }
        let mut limits = limits.clone();
        let lexer = spec.to_regex_vec(&mut limits).map_err(|_| TOO_COMPLEX)?;
        let mut new = Self {
            rules: Rules::new(grammar),
            lexer,
            limits,
            rows: Vec::new(),
            state: StateID::DEAD,
            begun: false,
            rests: HashMap::new(),
        };
        new.measure();
        if new.gave_up() {
            return Err(TOO_COMPLEX);
        }
        new.refuel();
        let start = new.rules.start;
        let items = new.rules.symbols[&start].rules.iter().map(|place| (*place, 0)).collect();
        new.push_row(items);
        new.state = new.rows[0].start;
        Ok(new)
    }

    /// Whether the lexer met something that takes more than its limits allow. It then reads nothing more.
    pub(super) fn gave_up(&self) -> bool {
        self.lexer.has_error()
    }

    /// Where it stands.
    pub(super) fn mark(&self) -> Mark {
        Mark { rows: self.rows.len(), state: self.state, begun: self.begun }
    }

    /// Back to where it stood, in what has been read since the beginning.
    pub(super) fn back_to(&mut self, mark: Mark) {
        self.rows.truncate(mark.rows);
        (self.state, self.begun) = (mark.state, mark.begun);
    }

    /// Reads bytes. Whether the grammar allows them; if not, it stands where it stood.
    pub(super) fn read(&mut self, bytes: &[u8]) -> bool {
        let mark = self.mark();
        self.refuel();
        let read = bytes.iter().all(|byte| self.read_byte(*byte));
        if !read {
            self.back_to(mark);
        }
        read
    }

    /// How few bytes complete the answer, or [`NEVER`]. Where lexemes swallow what should follow them it may take more.
    pub(super) fn fewest(&mut self) -> u32 {
        self.best().map_or(NEVER, |(bytes, _)| bytes)
    }

    /// The bytes that complete the answer, as few as can be found. It stands where it stood.
    pub(super) fn completion(&mut self) -> Option<Vec<u8>> {
        let mark = self.mark();
        self.refuel();
        let mut bytes = Vec::new();
        let mut left = self.fewest();
        if left >= NEVER {
            return None;
        }
        while left > 0 {
            let next = self.next_byte();
            let goes_on = next.is_some_and(|byte| self.read_byte(byte)) && self.fewest() == left - 1;
            if !goes_on {
                self.back_to(mark);
                return self.search();
            }
            bytes.extend(next);
            left -= 1;
        }
        self.back_to(mark);
        Some(bytes)
    }

    /// Looks for a way where the sum was only a lower bound: always on from the place that promises the shortest.
    fn search(&mut self) -> Option<Vec<u8>> {
        let mark = self.mark();
        let mut places = BinaryHeap::from([(Reverse(self.fewest()), Vec::new())]);
        let mut found = None;
        for _ in 0..MOST_PLACES {
            let Some((_, bytes)) = places.pop() else { break };
            self.back_to(mark);
            if !bytes.iter().all(|byte| self.read_byte(*byte)) {
                continue;
            }
            if self.fewest() == 0 {
                found = Some(bytes);
                break;
            }
            let here = self.mark();
            let mut seen = HashSet::new();
            for byte in order() {
                if self.read_byte(byte) {
                    let total = (bytes.len() as u32 + 1).saturating_add(self.fewest());
                    if total < NEVER && seen.insert((self.rows.len(), self.state)) {
                        places.push((Reverse(total), [&bytes[..], &[byte]].concat()));
                    }
                }
                self.back_to(here);
            }
        }
        self.back_to(mark);
        found
    }

    /// The fewest bytes that complete the answer, and the lexeme that comes first on this way, if one does.
    fn best(&mut self) -> Option<(u32, Option<LexemeIdx>)> {
        let row = self.rows.len() - 1;
        if !self.begun && self.rows[row].fewest == 0 {
            return Some((0, None));
        }
        let mut best: Option<(u32, Option<LexemeIdx>)> = None;
        let possible: Vec<_> = self.lexer.state_desc(self.state).possible.iter().collect();
        for lexeme in possible {
            let follow = if self.rules.skips.contains(&lexeme) {
                if !self.begun {
                    continue;
                }
                self.rows[row].fewest
            } else {
                let lexemes = &self.rows[row].lexemes;
                let Ok(at) =
                    lexemes.binary_search_by_key(&lexeme.as_usize(), |(lexeme, _)| lexeme.as_usize())
                else {
                    continue;
                };
                lexemes[at].1
            };
            let bytes = self.way(lexeme).0.saturating_add(follow);
            if bytes < NEVER && best.is_none_or(|(fewest, _)| bytes < fewest) {
                best = Some((bytes, Some(lexeme)));
            }
        }
        best
    }

    /// The next byte on the shortest way.
    fn next_byte(&mut self) -> Option<u8> {
        let lexeme = self.best()?.1?;
        let (bytes, byte) = self.way(lexeme);
        if bytes > 0 {
            return Some(byte);
        }
        // The lexeme is complete: the byte is the first of the next one.
        let mark = self.mark();
        let ends = self.lexer.state_desc(self.state).greedy_accepting.as_slice().to_vec();
        if !self.end_lexeme(&ends) {
            return None;
        }
        let next = self.best().and_then(|(_, lexeme)| Some(self.way(lexeme?).1));
        self.back_to(mark);
        next
    }

    /// Reads a byte as llguidance does: the longest lexeme counts.
    fn read_byte(&mut self, byte: u8) -> bool {
        let next = self.lexer.transition(self.state, byte);
        if next.is_dead() {
            let ends = self.lexer.state_desc(self.state).greedy_accepting.as_slice().to_vec();
            if ends.is_empty() || !self.end_lexeme(&ends) {
                return false;
            }
            let next = self.lexer.transition(self.state, byte);
            if next.is_dead() {
                return false;
            }
            (self.state, self.begun) = (next, true);
            return !next.has_lowest_match() || self.end_lazy();
        }
        (self.state, self.begun) = (next, true);
        !next.has_lowest_match() || self.end_lazy()
    }

    /// Ends a lexeme that ends as soon as it can.
    fn end_lazy(&mut self) -> bool {
        let ends = self.lexer.state_desc(self.state).lazy_accepting.as_slice().to_vec();
        self.end_lexeme(&ends)
    }

    /// A row behind the lexemes that end here.
    fn end_lexeme(&mut self, ends: &[LexemeIdx]) -> bool {
        let row = self.rows.len() - 1;
        if ends.iter().any(|lexeme| self.rules.skips.contains(lexeme)) {
            (self.state, self.begun) = (self.rows[row].start, false);
            return true;
        }
        let rules = &self.rules;
        let scanned = self.rows[row].items.iter().filter(|(place, _)| {
            let symbol = rules.places[*place].symbol;
            symbol
                .and_then(|symbol| rules.symbols[&symbol].lexeme)
                .is_some_and(|lexeme| ends.contains(&lexeme))
        });
        let items: Vec<Item> = scanned.map(|(place, from)| (place + 1, *from)).collect();
        if items.is_empty() {
            return false;
        }
        self.push_row(items);
        (self.state, self.begun) = (self.rows[row + 1].start, false);
        true
    }

    /// Adds a row that begins with these items.
    fn push_row(&mut self, mut items: Vec<Item>) {
        let rules = &self.rules;
        let here = self.rows.len();
        let mut known: HashSet<Item> = items.iter().copied().collect();
        let mut at = 0;
        while let Some(&(place, from)) = items.get(at) {
            at += 1;
            let Place { symbol, makes, .. } = rules.places[place];
            let mut add = |item| {
                if known.insert(item) {
                    items.push(item);
                }
            };
            match symbol {
                // What is empty was passed where it was expected.
                None if from < here => {
                    let waiting = self.rows[from].items.iter();
                    let waiting = waiting.filter(|(place, _)| rules.places[*place].symbol == Some(makes));
                    waiting.for_each(|(place, from)| add((place + 1, *from)));
                }
                None => (),
                Some(symbol) => {
                    let symbol = &rules.symbols[&symbol];
                    symbol.rules.iter().for_each(|rule| add((*rule, here)));
                    if symbol.may_be_empty {
                        add((place + 1, from));
                    }
                }
            }
        }
        let row = self.finished_row(items);
        self.rows.push(row);
    }

    /// A row of these items, with what follows from them.
    fn finished_row(&mut self, items: Vec<Item>) -> Row {
        let (rules, here) = (&self.rules, self.rows.len());
        let mut after = HashMap::new();
        if here == 0 {
            after.insert(rules.start, 0);
        }
        // What follows a rule that began here may be known later than the rule.
        let follow = |after: &HashMap<CSymIdx, u32>, (place, from): Item| {
            let makes = rules.places[place].makes;
            let known = if from == here { after.get(&makes) } else { self.rows[from].after.get(&makes) };
            known.copied().unwrap_or(NEVER)
        };
        loop {
            let mut changed = false;
            for &(place, from) in &items {
                let Some(symbol) = rules.places[place].symbol else { continue };
                let bytes = rules.places[place + 1].rest.saturating_add(follow(&after, (place, from)));
                let known = after.entry(symbol).or_insert(NEVER);
                if bytes < *known {
                    *known = bytes;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        let mut lexemes: Vec<(LexemeIdx, u32)> = Vec::new();
        for (symbol, bytes) in &after {
            if let Some(lexeme) = rules.symbols[symbol].lexeme {
                lexemes.push((lexeme, *bytes));
            }
        }
        lexemes.sort_unstable_by_key(|(lexeme, bytes)| (lexeme.as_usize(), *bytes));
        lexemes.dedup_by_key(|(lexeme, _)| *lexeme);
        let is_complete = rules.symbols[&rules.start].may_be_empty && here == 0
            || items.iter().any(|(place, from)| {
                let place = rules.places[*place];
                *from == 0 && place.symbol.is_none() && place.makes == rules.start
            });
        let fewest =
            lexemes.iter().map(|(lexeme, bytes)| rules.lexemes[lexeme.as_usize()].saturating_add(*bytes));
        let fewest = if is_complete { 0 } else { fewest.min().unwrap_or(NEVER) };
        let mut expected = LexemeSet::new(rules.lexemes.len());
        lexemes.iter().map(|(lexeme, _)| *lexeme).chain(rules.skips.iter().copied()).for_each(|lexeme| {
            expected.add(lexeme);
        });
        let start = self.lexer.initial_state(&expected);
        Row { items, after, lexemes, start, fewest }
    }

    /// The fewest bytes that complete a lexeme from here, and the first of them.
    fn way(&mut self, lexeme: LexemeIdx) -> (u32, u8) {
        if self.begun { self.rest(self.state, lexeme) } else { self.whole(self.state, lexeme) }
    }

    /// The fewest bytes of a lexeme that begins in a state, and the first of them. An empty lexeme is none: the grammar passes
    /// over it.
    fn whole(&mut self, start: StateID, lexeme: LexemeIdx) -> (u32, u8) {
        if !self.ends(start, lexeme) {
            return self.rest(start, lexeme);
        }
        let ways = order().map(|byte| {
            let next = self.lexer.transition(start, byte);
            if next.is_dead() { (NEVER, byte) } else { (self.rest(next, lexeme).0.saturating_add(1), byte) }
        });
        ways.min_by_key(|(bytes, _)| *bytes).unwrap_or((NEVER, 0))
    }

    /// The fewest bytes that complete a lexeme from a state, and the first of them.
    fn rest(&mut self, state: StateID, lexeme: LexemeIdx) -> (u32, u8) {
        if let Some(known) = self.rests.get(&(state, lexeme)) {
            return *known;
        }
        if self.ends(state, lexeme) {
            return *self.rests.entry((state, lexeme)).or_insert((0, 0));
        }
        // From where each state was reached first, which is in the fewest bytes.
        let mut from: HashMap<StateID, (StateID, u8)> = HashMap::new();
        let mut waiting = VecDeque::from([state]);
        while let Some(here) = waiting.pop_front() {
            for byte in order() {
                let next = self.lexer.transition(here, byte);
                if next.is_dead()
                    || next == state
                    || from.contains_key(&next)
                    || !self.lexer.state_desc(next).possible.contains(lexeme)
                {
                    continue;
                }
                from.insert(next, (here, byte));
                if self.ends(next, lexeme) {
                    // All on the way there are known now.
                    let (mut at, mut bytes) = (next, 0);
                    self.rests.insert((at, lexeme), (0, 0));
                    while at != state {
                        let (before, byte) = from[&at];
                        bytes += 1;
                        self.rests.insert((before, lexeme), (bytes, byte));
                        at = before;
                    }
                    return self.rests[&(state, lexeme)];
                }
                // From a state in which a lexeme has ended it cannot go on.
                if !next.has_lowest_match() && from.len() < MOST_STATES {
                    waiting.push_back(next);
                }
            }
        }
        *self.rests.entry((state, lexeme)).or_insert((NEVER, 0))
    }

    /// Whether a lexeme may end in this state.
    fn ends(&self, state: StateID, lexeme: LexemeIdx) -> bool {
        let state = self.lexer.state_desc(state);
        state.greedy_accepting.contains(lexeme) || state.lazy_accepting.contains(lexeme)
    }

    /// The lexer's derivatives are paid for in fuel, which limits what a single step may cost.
    fn refuel(&mut self) {
        self.lexer.set_fuel(self.limits.initial_lexer_fuel);
        self.lexer.set_max_states(self.limits.max_lexer_states);
    }

    /// Finds the fewest bytes of each lexeme, symbol, and rest of a rule.
    fn measure(&mut self) {
        let lexemes: Vec<_> = self.rules.symbols.values().filter_map(|symbol| symbol.lexeme).collect();
        for lexeme in lexemes {
            let mut alone = LexemeSet::new(self.rules.lexemes.len());
            alone.add(lexeme);
            self.refuel();
            let start = self.lexer.initial_state(&alone);
            self.rules.lexemes[lexeme.as_usize()] = self.whole(start, lexeme).0;
        }
        self.rules.measure();
    }
}

impl Rules {
    fn new(grammar: &CGrammar) -> Self {
        let spec = grammar.lexer_spec();
        let mut rules = Self {
            start: grammar.start(),
            symbols: HashMap::new(),
            places: Vec::new(),
            skips: spec.skip_by_class.clone(),
            lexemes: vec![NEVER; spec.lexemes.len()],
        };
        let mut waiting = vec![grammar.start()];
        while let Some(index) = waiting.pop() {
            if rules.symbols.contains_key(&index) {
                continue;
            }
            let symbol = grammar.sym_data(index);
            let mut starts = Vec::new();
            for rule in &symbol.rules {
                starts.push(rules.places.len());
                let (parts, ..) = grammar.rule_rhs(*rule);
                let place = |symbol| Place { symbol, makes: index, rest: NEVER };
                rules.places.extend(parts.iter().map(|part| place(Some(*part))));
                rules.places.push(Place { rest: 0, ..place(None) });
                waiting.extend(parts);
            }
            let new = Symbol {
                lexeme: symbol.lexeme,
                may_be_empty: symbol.is_nullable,
                rules: starts,
                fewest: if symbol.is_nullable { 0 } else { NEVER },
            };
            rules.symbols.insert(index, new);
        }
        rules
    }

    /// Finds the fewest bytes of symbols and rests from those of lexemes.
    fn measure(&mut self) {
        for symbol in self.symbols.values_mut() {
            if let Some(lexeme) = symbol.lexeme.filter(|_| !symbol.may_be_empty) {
                symbol.fewest = self.lexemes[lexeme.as_usize()];
            }
        }
        loop {
            for at in (0..self.places.len()).rev() {
                if let Some(symbol) = self.places[at].symbol {
                    let rest = self.places[at + 1].rest;
                    self.places[at].rest = self.symbols[&symbol].fewest.saturating_add(rest).min(NEVER);
                }
            }
            let mut changed = false;
            for symbol in self.symbols.values_mut() {
                let fewest = symbol.rules.iter().map(|rule| self.places[*rule].rest).min();
                if let Some(fewest) = fewest.filter(|fewest| *fewest < symbol.fewest) {
                    symbol.fewest = fewest;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
    }
}

/// All bytes, those first that look best in what is only there to be short.
fn order() -> impl Iterator<Item = u8> {
    let letters = (b'0'..=b'9').chain(b'a'..=b'z').chain(b'A'..=b'Z');
    letters.chain((0..=u8::MAX).filter(|byte| !byte.is_ascii_alphanumeric()))
}
