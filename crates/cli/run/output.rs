//! In what form an answer leaves: as it comes, or once it is complete.

use std::io::{IsTerminal, Write, stdout};

use stonechat_runtime::Engine;
use stonechat_runtime::speech::{Speech, Spoken};

use crate::args::RunArgs;
use crate::failure::Failure;
use crate::terminal::{News, Thoughts, harmless};

/// In what form the answer leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The text as it comes, to the byte.
    Text,
    /// The text as it comes, for eyes.
    Terminal,
    /// Ids as they come, with commas between them.
    Ids,
    /// In one piece, once it is complete.
    Collected,
}

impl Form {
    /// As the flags say: one of several answers is known once all are there.
    pub fn new(args: &RunArgs) -> Self {
        match (args.json || args.samples > 1, args.print_ids) {
            (true, _) => Self::Collected,
            (false, true) => Self::Ids,
            (false, false) if stdout().is_terminal() => Self::Terminal,
            (false, false) => Self::Text,
        }
    }
}

/// Where the answer goes as it comes.
pub struct Output {
    /// What the model says, read.
    pub speech: Speech,
    /// The answer, as far as it is not written.
    pub text: String,
    /// The thoughts, as far as they are not shown.
    pub reasoning: String,
    form: Form,
    thoughts: Thoughts,
    news: News,
    /// Tokens that came.
    count: usize,
}

impl Output {
    pub fn new(args: &RunArgs, form: Form, speech: Speech) -> Self {
        Self {
            speech,
            text: String::new(),
            reasoning: String::new(),
            form,
            thoughts: Thoughts::new(args.template.reasoning),
            news: News::begin(),
            count: 0,
        }
    }

    pub fn token(&mut self, engine: &Engine, token: u32) -> Result<(), Failure> {
        self.count += 1;
        if self.form == Form::Ids {
            let comma = if self.count == 1 { "" } else { "," };
            write!(stdout(), "{comma}{token}")?;
            stdout().flush()?;
        }
        let Self { speech, text, reasoning, .. } = self;
        speech.token(engine.vocabulary(), token, &mut |part| hear(part, text, reasoning))?;
        self.show()
    }

    /// See [`Speech::is_answer_from_here`].
    pub fn is_answer_from_here(&mut self) {
        let Self { speech, text, reasoning, .. } = self;
        speech.is_answer_from_here(&mut |part| hear(part, text, reasoning));
    }

    /// Writes what has come since the last time. What is not collected need not be kept.
    fn show(&mut self) -> Result<(), Failure> {
        if self.form == Form::Collected {
            return Ok(());
        }
        if self.thoughts.is_visible() && !self.reasoning.is_empty() {
            self.news.end();
            self.thoughts.show(&self.reasoning);
        } else if self.speech.is_thinking() {
            self.news.show(format_args!("thinking: {} tokens", self.count));
        }
        self.reasoning.clear();
        if !self.text.is_empty() {
            self.news.end();
            self.thoughts.end();
            match self.form {
                Form::Terminal => stdout().write_all(harmless(&self.text).as_bytes())?,
                Form::Text => stdout().write_all(self.text.as_bytes())?,
                Form::Ids | Form::Collected => (),
            }
            stdout().flush()?;
            self.text.clear();
        }
        Ok(())
    }

    /// Writes what was held back: nothing more comes.
    pub fn end(&mut self) -> Result<(), Failure> {
        let Self { speech, text, reasoning, .. } = self;
        speech.finish(&mut |part| hear(part, text, reasoning));
        self.show()?;
        self.news.end();
        self.thoughts.end();
        if self.form != Form::Collected {
            writeln!(stdout())?;
        }
        Ok(())
    }
}

/// Adds a part to what it belongs to. Calls come of no prompt that names no tools.
fn hear(part: Spoken, text: &mut String, reasoning: &mut String) {
    match part {
        Spoken::Text(part) => text.push_str(&part),
        Spoken::Thought(part) => reasoning.push_str(&part),
        Spoken::Call(_) => (),
    }
}
