//! Calls of tools in what a model says: each family of models writes them in its own way, here they become one structure.
//!
//! In goes text in pieces, control tokens included, thoughts already [taken away](crate::thinking); out come text, as soon
//! as it is certain that it is no call, and calls. How the text was cut into pieces makes no difference. What looks like a
//! call and is none comes out as the text that it was.

mod channels;
mod command;
mod declared;
mod json;
mod literal;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::tags::{Found, Pending};
use channels::Channels;

pub use command::{Outcome, Ran};
pub use declared::{Tool, read};

/// A model wants a function to be called.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ToolCall {
    /// Names the call, so that its result can be told apart: the model's own name, or else one of nine letters and
    /// digits, which every template takes.
    pub id: String,
    /// The function.
    pub name: String,
    /// Its arguments by name.
    pub arguments: Map<String, Value>,
}

/// How a family of models writes calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallFormat {
    /// `{"name": …, "parameters": {…}}` as the whole answer: Llama 3.
    Llama,
    /// `<tool_call>{"name": …, "arguments": {…}}</tool_call>`: Hermes, Qwen 2.5 and 3, SmolLM 3.
    Hermes,
    /// `[TOOL_CALLS][{"name": …, "arguments": {…}, "id": …}]`, or `[TOOL_CALLS]name[CALL_ID]…[ARGS]{…}`: Mistral.
    Mistral,
    /// `<｜tool▁call▁begin｜>function<｜tool▁sep｜>name` and a block of JSON, or `…begin｜>name<｜tool▁sep｜>{…}`: DeepSeek.
    DeepSeek,
    /// Channels with a recipient: gpt-oss.
    GptOss,
    /// `<|tool_call>call:name{key:<|"|>text<|"|>}<tool_call|>`: Gemma 4. With `<start_function_call>`, `<escape>` and
    /// `<end_function_call>`: `FunctionGemma`.
    Gemma,
}

impl CallFormat {
    /// The words by which a template shows how calls are written, the surest first.
    const SIGNS: [(Self, &'static str); 8] = [
        (Self::GptOss, "<|channel|>"),
        (Self::Gemma, "<|tool_call>call:"),
        (Self::Gemma, "<start_function_call>"),
        (Self::DeepSeek, "<｜tool▁call▁begin｜>"),
        (Self::Mistral, "[TOOL_CALLS]"),
        (Self::Hermes, "<tool_call>"),
        (Self::Llama, "<|python_tag|>"),
        (Self::Llama, "\"parameters\": "),
    ];

    /// How a chat template writes calls, if it knows any.
    pub fn of_template(template: &str) -> Option<Self> {
        Self::SIGNS.iter().find(|(_, sign)| template.contains(sign)).map(|(format, _)| *format)
    }

    /// What begins a stretch with calls; nothing where the beginning of the text does.
    const fn begin(self) -> &'static [&'static str] {
        match self {
            Self::Llama => &["<|python_tag|>"],
            Self::Hermes => &["<tool_call>"],
            Self::Mistral => &["[TOOL_CALLS]"],
            Self::DeepSeek => &["<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"],
            Self::Gemma => &["<|tool_call>", "<start_function_call>"],
            Self::GptOss => &[],
        }
    }

    /// What ends it; nothing where it goes to the end of the text.
    const fn end(self) -> &'static [&'static str] {
        match self {
            Self::Hermes => &["</tool_call>"],
            Self::DeepSeek => &["<｜tool▁calls▁end｜>"],
            Self::Gemma => &["<tool_call|>", "<end_function_call>"],
            Self::Llama | Self::Mistral | Self::GptOss => &[],
        }
    }

    /// The control tokens, or what holds them, that an answer with calls has.
    pub(crate) const fn marks(self) -> &'static [&'static str] {
        match self {
            Self::Llama => &["<|python_tag|>"],
            Self::Hermes => &["<tool_call>", "</tool_call>"],
            Self::Mistral => &["[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"],
            Self::DeepSeek => &[
                "<｜tool▁calls▁begin｜>",
                "<｜tool▁call▁begin｜>",
                "<｜tool▁sep｜>",
                "<｜tool▁call▁end｜>",
                "<｜tool▁calls▁end｜>",
            ],
            Self::Gemma => &[
                "<|tool_call>",
                "<tool_call|>",
                "<|\"|>",
                "<start_function_call>",
                "<end_function_call>",
                "<escape>",
            ],
            Self::GptOss => Channels::MARKERS,
        }
    }

    /// The calls in a stretch, without the tags around it.
    fn parse(self, stretch: &str, begun: usize) -> Option<Vec<Written>> {
        match self {
            Self::Llama => json::sequence(stretch),
            Self::Hermes => json::call(stretch.trim()).map(|call| vec![call]),
            Self::Mistral => json::mistral(stretch),
            Self::DeepSeek => json::deepseek(stretch),
            Self::Gemma => literal::call(stretch, ["<|\"|>", "<escape>"][begun]).map(|call| vec![call]),
            Self::GptOss => None,
        }
    }
}

/// A call as it was written: with or without an id.
#[derive(Debug, PartialEq)]
struct Written {
    id: Option<String>,
    name: String,
    arguments: Map<String, Value>,
}

/// A part of an answer.
#[derive(Clone, PartialEq, Debug)]
pub enum Part {
    /// Text for the reader.
    Text(String),
    /// A call.
    Call(ToolCall),
}

/// Reads an answer. See the [module](self).
#[derive(Debug)]
pub struct CallReader {
    format: CallFormat,
    pending: Pending,
    /// What came since a stretch with calls began, and which tag began it.
    stretch: Option<(String, usize)>,
    /// Nothing came yet but space.
    fresh: bool,
    channels: Channels,
    calls: usize,
}

impl CallReader {
    /// A reader of what `format` tells.
    pub fn new(format: CallFormat) -> Self {
        Self {
            format,
            pending: Pending::default(),
            stretch: None,
            fresh: true,
            channels: Channels::default(),
            calls: 0,
        }
    }

    /// Takes a piece and hands out what is certain.
    pub fn push(&mut self, piece: &str, out: &mut dyn FnMut(Part)) {
        self.pending.push(piece);
        match self.format {
            CallFormat::GptOss => self.read_channels(out),
            CallFormat::Llama if self.fresh => self.begin_llama(out),
            _ => self.read(out),
        }
    }

    /// Hands out what was held back: nothing more comes.
    pub fn finish(mut self, out: &mut dyn FnMut(Part)) {
        let rest = self.pending.finish();
        if self.format == CallFormat::GptOss {
            let part = self.channels.finish(&rest);
            return self.hand_out(part, out);
        }
        match self.stretch.take() {
            Some((stretch, begun)) => self.close(&(stretch + &rest), begun, "", out),
            None if self.format == CallFormat::Llama && self.fresh => self.close_llama(rest, out),
            None => text(rest, out),
        }
    }

    /// Text and stretches by turns.
    fn read(&mut self, out: &mut dyn FnMut(Part)) {
        loop {
            if let Some((mut stretch, begun)) = self.stretch.take() {
                match self.pending.next(self.format.end()) {
                    Found::Text(text) => {
                        stretch += &text;
                        self.stretch = Some((stretch, begun));
                        return;
                    }
                    Found::Tag(text, ended) => {
                        self.close(&(stretch + &text), begun, self.format.end()[ended], out);
                    }
                }
            } else {
                match self.pending.next(self.format.begin()) {
                    Found::Text(more) => return text(more, out),
                    Found::Tag(before, begun) => {
                        text(before, out);
                        self.stretch = Some((String::new(), begun));
                    }
                }
            }
        }
    }

    /// A stretch is complete: its calls, or the text that it was.
    fn close(&mut self, stretch: &str, begun: usize, end: &str, out: &mut dyn FnMut(Part)) {
        match self.format.parse(stretch, begun) {
            Some(calls) => calls.into_iter().for_each(|call| self.call(call, out)),
            None => text(format!("{}{stretch}{end}", self.format.begin()[begun]), out),
        }
    }

    /// A Llama's answer is a call from its first character on, or none.
    fn begin_llama(&mut self, out: &mut dyn FnMut(Part)) {
        let begun = self.pending.finish();
        self.pending.push(&begun);
        let answer = begun.trim_start();
        if !answer.is_empty() && !json::may_be_call(answer) && !"<|python_tag|>".starts_with(answer) {
            self.fresh = false;
            self.read(out);
        }
    }

    fn close_llama(&mut self, answer: String, out: &mut dyn FnMut(Part)) {
        match json::sequence(&answer) {
            Some(calls) => calls.into_iter().for_each(|call| self.call(call, out)),
            None => text(answer, out),
        }
    }

    fn read_channels(&mut self, out: &mut dyn FnMut(Part)) {
        loop {
            match self.pending.next(Channels::MARKERS) {
                Found::Text(text) => {
                    let part = self.channels.text(text);
                    return self.hand_out(part, out);
                }
                Found::Tag(text, marker) => {
                    let part = self.channels.text(text);
                    self.hand_out(part, out);
                    let part = self.channels.marker(marker);
                    self.hand_out(part, out);
                }
            }
        }
    }

    fn hand_out(&mut self, part: Option<channels::Part>, out: &mut dyn FnMut(Part)) {
        match part {
            Some(channels::Part::Text(said)) => text(said, out),
            Some(channels::Part::Call(call)) => self.call(call, out),
            None => (),
        }
    }

    fn call(&mut self, call: Written, out: &mut dyn FnMut(Part)) {
        let id = call.id.unwrap_or_else(|| format!("call{:05}", self.calls));
        self.calls += 1;
        out(Part::Call(ToolCall { id, name: call.name, arguments: call.arguments }));
    }
}

fn text(text: String, out: &mut dyn FnMut(Part)) {
    if !text.is_empty() {
        out(Part::Text(text));
    }
}

#[cfg(test)]
mod tests;
