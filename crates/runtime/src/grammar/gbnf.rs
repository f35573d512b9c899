//! Grammars in llama.cpp's language, GBNF, brought to Lark's.
//!
//! In: rules like `root ::= "yes" | "no" [!.]*`. Out: the same rules for llguidance, or the first mistake and where it stands.
//! GBNF knows only characters, llguidance lexemes and what is made of them. What does not refer to itself becomes a lexeme,
//! as much at once as can be: whatever stands in one lexeme is matched as GBNF would. Only where a rule that refers to itself
//! joins two lexemes, the first takes all it can.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

/// What is wrong, and where: the line and the column, from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) place: (usize, usize),
    pub(super) reason: String,
}

/// Parentheses within parentheses, at most so many: llguidance takes few more.
const MOST_DEPTH: usize = 20;
/// Rules that are made of rules that are made of rules, at most so many: what reads them calls itself for each.
const MOST_CHAINED: usize = 200;
/// Rules at most.
const MOST_RULES: usize = 2000;
/// Repetitions that a number asks for, at most so many: llama.cpp has the same limit.
const MOST_TIMES: u32 = 2000;

/// The grammar for llguidance.
pub(super) fn to_lark(text: &str) -> Result<String, Mistake> {
    let rules = Reader::new(text).rules()?;
    let lexemes = lexemes(&rules)?;
    let mut writer = Writer { lexemes: &lexemes, out: "start: ".to_owned(), named: Vec::new() };
    let root = rules.iter().position(|rule| rule.name == "root").expect("the reader found it");
    writer.refer(root);
    writer.out.push('\n');
    for (index, rule) in rules.iter().enumerate() {
        writer.refer(index);
        writer.out.push_str(": ");
        writer.choice(&rule.choice, lexemes[index]);
        writer.out.push('\n');
    }
    let named = std::mem::take(&mut writer.named);
    for (number, sequence) in named.iter().enumerate() {
        let _ = write!(writer.out, "L{number}: ");
        writer.plain_sequence(sequence);
        writer.out.push('\n');
    }
    Ok(writer.out)
}

#[derive(Debug)]
struct Rule {
    name: String,
    /// Where it is first named.
    place: (usize, usize),
    choice: Choice,
}

/// Sequences, one of which.
type Choice = Vec<Vec<Part>>;

/// A piece, and how often: at least, and at most.
#[derive(Clone, Debug)]
struct Part {
    piece: Piece,
    least: u32,
    most: Option<u32>,
}

#[derive(Clone, Debug)]
enum Piece {
    /// A text.
    Text(String),
    /// A character, as a regular expression.
    Class(String),
    /// A rule, by its place.
    Rule(usize),
    Group(Choice),
}

/// Reads rules.
struct Reader<'t> {
    text: &'t str,
    at: usize,
    /// Names in the order in which they occurred, and where each occurred first.
    names: Vec<(&'t str, usize)>,
    depth: usize,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, at: 0, names: Vec::new(), depth: 0 }
    }

    /// The line and the column of a byte.
    fn place(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..at];
        let line = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line..].chars().count() + 1)
    }

    fn mistake_at<T>(&self, at: usize, reason: impl Into<String>) -> Result<T, Mistake> {
        Err(Mistake { place: self.place(at), reason: reason.into() })
    }

    fn mistake<T>(&self, reason: impl Into<String>) -> Result<T, Mistake> {
        self.mistake_at(self.at, reason)
    }

    /// Says what was expected in place of what stands here.
    fn expected<T>(&self, what: &str) -> Result<T, Mistake> {
        match self.peek() {
            Some(c) => self.mistake(format!("there is {c:?} in place of {what}")),
            None => self.mistake(format!("the grammar ends in place of {what}")),
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Goes over a text, if it stands here.
    fn eat(&mut self, text: &str) -> bool {
        let is_there = self.text[self.at..].starts_with(text);
        if is_there {
            self.at += text.len();
        }
        is_there
    }

    /// Goes over spaces and comments, and over newlines where these mean nothing.
    fn space(&mut self, newlines: bool) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' => _ = self.next(),
                '\r' | '\n' if newlines => _ = self.next(),
                '#' => {
                    let rest = &self.text[self.at..];
                    self.at += rest.find(['\r', '\n']).unwrap_or(rest.len());
                }
                _ => break,
            }
        }
    }

    fn rules(mut self) -> Result<Vec<Rule>, Mistake> {
        let mut choices: HashMap<usize, Choice> = HashMap::new();
        self.space(true);
        while self.peek().is_some() {
            let start = self.at;
            let rule = self.name()?;
            self.space(false);
            if !self.eat("::=") {
                return self.expected("'::='");
            }
            self.space(true);
            if choices.contains_key(&rule) {
                return self.mistake_at(start, format!("the rule '{}' is there already", self.names[rule].0));
            }
            let choice = self.choice(false)?;
            choices.insert(rule, choice);
            if !matches!(self.peek(), None | Some('\r' | '\n')) {
                return self.expected("the end of the rule");
            }
            self.space(true);
        }
        let known = |name: &str| self.names.iter().position(|(known, _)| *known == name);
        if known("root").is_none_or(|root| !choices.contains_key(&root)) {
            return self.mistake("there is no rule 'root', with which answers begin");
        }
        let mut rules = Vec::new();
        for (index, (name, at)) in self.names.iter().enumerate() {
            let Some(choice) = choices.remove(&index) else {
                return self.mistake_at(*at, format!("there is no rule '{name}'"));
            };
            rules.push(Rule { name: (*name).to_owned(), place: self.place(*at), choice });
        }
        Ok(rules)
    }

    /// The place of a rule by its name.
    fn name(&mut self) -> Result<usize, Mistake> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
            self.next();
        }
        let name = &self.text[start..self.at];
        if name.is_empty() {
            return self.expected("the name of a rule");
        }
        if let Some(known) = self.names.iter().position(|(known, _)| *known == name) {
            return Ok(known);
        }
        if self.names.len() == MOST_RULES {
            return self.mistake_at(start, format!("there are more than {MOST_RULES} rules"));
        }
        self.names.push((name, start));
        Ok(self.names.len() - 1)
    }

    /// Sequences with `|` between them; newlines mean nothing within parentheses.
    fn choice(&mut self, nested: bool) -> Result<Choice, Mistake> {
        let mut choice = vec![self.sequence(nested)?];
        loop {
            // The next sequence may stand on the next line.
            let end = self.at;
            self.space(true);
            if !self.eat("|") {
                self.at = if nested { self.at } else { end };
                return Ok(choice);
            }
            self.space(true);
            choice.push(self.sequence(nested)?);
        }
    }

    fn sequence(&mut self, nested: bool) -> Result<Vec<Part>, Mistake> {
        let mut parts: Vec<Part> = Vec::new();
        loop {
            let start = self.at;
            let piece = match self.peek() {
                Some('"') => Piece::Text(self.literal()?),
                Some('[') => Piece::Class(self.class()?),
                Some('.') => {
                    self.next();
                    Piece::Class("(?s:.)".to_owned())
                }
                Some('(') => Piece::Group(self.group()?),
                Some('<' | '!') => {
                    return self.mistake("tokens cannot be named here; write the text that they stand for");
                }
                Some(c) if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') => {
                    let rule = self.name()?;
                    // On a line of its own it begins the next rule.
                    let end = self.at;
                    self.space(nested);
                    if self.eat("::=") {
                        return self.mistake_at(start, "a rule begins on a line of its own");
                    }
                    self.at = end;
                    Piece::Rule(rule)
                }
                Some('*' | '+' | '?' | '{') => return self.mistake("there is nothing here to repeat"),
                _ => return Ok(parts),
            };
            let mut part = Part { piece, least: 1, most: Some(1) };
            self.space(nested);
            let mut repeated = 0;
            while let Some((least, most)) = self.times()? {
                repeated += 1;
                if repeated > MOST_DEPTH {
                    return self
                        .mistake_at(start, format!("this is repeated more than {MOST_DEPTH} times over"));
                }
                if (part.least, part.most) != (1, Some(1)) {
                    let inner = part;
                    part = Part { piece: Piece::Group(vec![vec![inner]]), least: 1, most: Some(1) };
                }
                (part.least, part.most) = (least, most);
                self.space(nested);
            }
            parts.push(part);
        }
    }

    fn group(&mut self) -> Result<Choice, Mistake> {
        let start = self.at;
        self.next();
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return self.mistake_at(
                start,
                format!("there are more than {MOST_DEPTH} parentheses within each other"),
            );
        }
        self.space(true);
        let choice = self.choice(true)?;
        if !self.eat(")") {
            return if self.peek().is_none() {
                self.mistake_at(start, "this parenthesis is never closed")
            } else {
                self.expected("')'")
            };
        }
        self.depth -= 1;
        Ok(choice)
    }

    /// How often what stands before is repeated, if this is said here.
    fn times(&mut self) -> Result<Option<(u32, Option<u32>)>, Mistake> {
        let times = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => {
                let start = self.at;
                self.next();
                self.space(true);
                let least = self.number()?;
                self.space(true);
                let mut most = Some(least);
                if self.eat(",") {
                    self.space(true);
                    most = if self.peek() == Some('}') { None } else { Some(self.number()?) };
                    self.space(true);
                }
                if self.peek() != Some('}') {
                    return self.expected("'}'");
                }
                if most.is_some_and(|most| most < least) {
                    return self.mistake_at(start, "the most is less than the least");
                }
                (least, most)
            }
            _ => return Ok(None),
        };
        self.next();
        Ok(Some(times))
    }

    fn number(&mut self) -> Result<u32, Mistake> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.next();
        }
        let digits = &self.text[start..self.at];
        if digits.is_empty() {
            return self.expected("a number");
        }
        match digits.parse() {
            Ok(number) if number <= MOST_TIMES => Ok(number),
            _ => self.mistake_at(start, format!("a repetition is of {MOST_TIMES} times at most")),
        }
    }

    fn literal(&mut self) -> Result<String, Mistake> {
        let start = self.at;
        self.next();
        let mut text = String::new();
        while self.peek() != Some('"') {
            if matches!(self.peek(), None | Some('\n')) {
                return self.mistake_at(start, "this text is never closed");
            }
            text.push(self.character()?);
        }
        self.next();
        Ok(text)
    }

    fn class(&mut self) -> Result<String, Mistake> {
        let start = self.at;
        self.next();
        let mut class = String::from(if self.eat("^") { "[^" } else { "[" });
        let mut is_empty = true;
        while self.peek() != Some(']') {
            if matches!(self.peek(), None | Some('\n')) {
                return self.mistake_at(start, "this class of characters is never closed");
            }
            is_empty = false;
            let from = self.character()?;
            let _ = write!(class, "\\x{{{:X}}}", from as u32);
            let rest = &self.text[self.at..];
            if rest.starts_with('-') && !rest.starts_with("-]") {
                let dash = self.at;
                self.next();
                let to = self.character()?;
                if to < from {
                    return self.mistake_at(dash, format!("the range from {from:?} to {to:?} is empty"));
                }
                let _ = write!(class, "-\\x{{{:X}}}", to as u32);
            }
        }
        self.next();
        if is_empty {
            return self.mistake_at(start, "this class has no character");
        }
        class.push(']');
        Ok(class)
    }

    /// A character of a text or class, escaped or not.
    fn character(&mut self) -> Result<char, Mistake> {
        let start = self.at;
        let Some(c) = self.next() else { return self.expected("a character") };
        if c != '\\' {
            return Ok(c);
        }
        let digits = match self.next() {
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some(c @ ('\\' | '"' | '[' | ']')) => return Ok(c),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => {
                return self
                    .mistake_at(start, r#"only \n \r \t \\ \" \[ \] \x.. \u.... and \U........ are known"#);
            }
        };
        let code =
            self.text.get(self.at..self.at + digits).and_then(|code| u32::from_str_radix(code, 16).ok());
        let Some(c) = code.and_then(char::from_u32) else {
            return self.mistake_at(start, format!("{digits} hexadecimal digits of a character must follow"));
        };
        self.at += digits;
        Ok(c)
    }
}

/// Which rules become lexemes: those that neither refer to themselves nor to what does.
fn lexemes(rules: &[Rule]) -> Result<Vec<bool>, Mistake> {
    fn refers(choice: &Choice, found: &mut HashSet<usize>) {
        for part in choice.iter().flatten() {
            match &part.piece {
                Piece::Rule(rule) => _ = found.insert(*rule),
                Piece::Group(choice) => refers(choice, found),
                Piece::Text(_) | Piece::Class(_) => (),
            }
        }
    }
    let references: Vec<HashSet<usize>> = rules
        .iter()
        .map(|rule| {
            let mut found = HashSet::new();
            refers(&rule.choice, &mut found);
            found
        })
        .collect();
    // Of a lexeme, how many rules are chained in it.
    let mut chained = vec![0; rules.len()];
    loop {
        let next = (0..rules.len()).find(|rule| {
            chained[*rule] == 0 && references[*rule].iter().all(|referred| chained[*referred] > 0)
        });
        let Some(next) = next else { return Ok(chained.iter().map(|chained| *chained > 0).collect()) };
        chained[next] = 1 + references[next].iter().map(|referred| chained[*referred]).max().unwrap_or(0);
        if chained[next] > MOST_CHAINED {
            let reason = format!("more than {MOST_CHAINED} rules are chained behind '{}'", rules[next].name);
            return Err(Mistake { place: rules[next].place, reason });
        }
    }
}

/// Writes rules.
struct Writer<'r> {
    lexemes: &'r [bool],
    out: String,
    /// Lexemes that stood between what is none.
    named: Vec<Vec<Part>>,
}

impl Writer<'_> {
    /// The name of a rule; those of lexemes are in capitals.
    fn refer(&mut self, rule: usize) {
        let letter = if self.lexemes[rule] { 'R' } else { 'r' };
        let _ = write!(self.out, "{letter}{rule}");
    }

    fn is_lexeme(&self, part: &Part) -> bool {
        match &part.piece {
            Piece::Text(_) | Piece::Class(_) => true,
            Piece::Rule(rule) => self.lexemes[*rule],
            Piece::Group(choice) => choice.iter().flatten().all(|part| self.is_lexeme(part)),
        }
    }

    /// Writes a choice; `plain` where all of it is one lexeme.
    fn choice(&mut self, choice: &Choice, plain: bool) {
        for (number, sequence) in choice.iter().enumerate() {
            if number > 0 {
                self.out.push_str(" | ");
            }
            if plain {
                self.plain_sequence(sequence);
            } else {
                self.sequence(sequence);
            }
        }
    }

    fn plain_sequence(&mut self, sequence: &[Part]) {
        if sequence.is_empty() {
            self.out.push_str("\"\"");
        }
        for (number, part) in sequence.iter().enumerate() {
            if number > 0 {
                self.out.push(' ');
            }
            self.part(part, true);
        }
    }

    /// Writes a sequence, in which neighbours that can be one lexeme become one.
    fn sequence(&mut self, sequence: &[Part]) {
        if sequence.is_empty() {
            self.out.push_str("\"\"");
        }
        let mut rest = sequence;
        while !rest.is_empty() {
            if rest.len() < sequence.len() {
                self.out.push(' ');
            }
            let run = rest.iter().take_while(|part| self.is_lexeme(part)).count();
            if run > 0 {
                let _ = write!(self.out, "L{}", self.named.len());
                self.named.push(rest[..run].to_vec());
            } else {
                self.part(&rest[0], false);
            }
            rest = &rest[run.max(1)..];
        }
    }

    fn part(&mut self, part: &Part, plain: bool) {
        match &part.piece {
            Piece::Text(text) => {
                let text = serde_json::to_string(text).expect("text is JSON");
                self.out.push_str(&text);
            }
            Piece::Class(class) => {
                let _ = write!(self.out, "/{class}/");
            }
            Piece::Rule(rule) => self.refer(*rule),
            Piece::Group(choice) => {
                self.out.push('(');
                self.choice(choice, plain);
                self.out.push(')');
            }
        }
        let times = match (part.least, part.most) {
            (1, Some(1)) => return,
            (0, None) => "*".to_owned(),
            (1, None) => "+".to_owned(),
            (0, Some(1)) => "?".to_owned(),
            (least, None) => format!("{{{least},}}"),
            (least, Some(most)) => format!("{{{least},{most}}}"),
        };
        self.out.push_str(&times);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lark(text: &str) -> String {
        to_lark(text).expect("a grammar")
    }

    #[test]
    fn what_does_not_refer_to_itself_becomes_one_lexeme() {
        assert_eq!(lark("root ::= \"a\" [b-d]+"), "start: R0\nR0: \"a\" /[\\x{62}-\\x{64}]/+\n");
        assert_eq!(
            lark("# sums\nroot ::= one (\" + \" root)?\none ::= [0-9]{1,3}\n"),
            "start: r0\nr0: L0 (L1 r0)?\nR1: /[\\x{30}-\\x{39}]/{1,3}\nL0: R1\nL1: \" + \"\n"
        );
    }

    #[test]
    fn lines_end_rules_unless_something_is_open() {
        let same = lark("root ::= \"a\" | \"b\" \"c\"");
        for text in [
            "root ::=\n  \"a\" |\n  \"b\" \"c\"\n",
            "root ::= \"a\"\n  | \"b\" \"c\" # or not\n\n",
            "\nroot::=\"a\"|\"b\"\t\"c\"\r\n",
        ] {
            assert_eq!(lark(text), same, "{text}");
        }
        assert!(lark("root ::= (\n\"a\"\n\"b\"\n)*\n").contains("(\"a\" \"b\")*"));
    }

    #[test]
    fn characters_are_escaped_as_in_llama_cpp() {
        assert!(lark(r#"root ::= "\n\"\\\x41\u00e9\U0001F600""#).contains("\"\\n\\\"\\\\Aé😀\""));
        assert!(lark(r#"root ::= [^"\\\x7F\]-]"#).contains(r"/[^\x{22}\x{5C}\x{7F}\x{5D}\x{2D}]/"));
        assert!(lark("root ::= .").contains("/(?s:.)/"));
    }

    #[test]
    fn mistakes_are_found_where_they_are() {
        let cases = [
            ("root ::= \"a", (1, 10)),
            ("root ::= \"a\\q\"", (1, 12)),
            ("root ::= *", (1, 10)),
            ("root ::= \"a\"{3,2}", (1, 13)),
            ("root ::= \"a\"{9999}", (1, 14)),
            ("root ::= [z-a]", (1, 12)),
            ("root ::= []", (1, 10)),
            ("root ::= \"é\" %", (1, 14)),
            ("root ::= \"a\"\nroot ::= \"b\"", (2, 1)),
            ("root ::= <think>", (1, 10)),
            ("root ::= (\"a\" }", (1, 15)),
        ];
        for (text, place) in cases {
            let mistake = to_lark(text).expect_err(text);
            assert_eq!(mistake.place, place, "{text}: {}", mistake.reason);
        }
        assert!(to_lark(&"root ::= ".chars().chain("(".repeat(5000).chars()).collect::<String>()).is_err());
    }
}
