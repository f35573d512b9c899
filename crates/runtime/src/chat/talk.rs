//! What was said: the turns of a conversation, and what of them is in the context.
//!
//! Nothing here computes. A conversation that is taken back to an earlier place is what it was there, down to the
//! turns that had given way by then.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use crate::tools::ToolCall;

/// Who said something, and what.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Turn {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What was said.
    pub content: String,
    /// What the model thought before; empty where it did not. Whether it sees that again is the template's to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reasoning: String,
    /// The tools that the model called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ToolCall>,
    /// Of a tool's result, the call that it belongs to: its id, and the tool's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<(String, String)>,
}

impl Turn {
    pub(super) fn new(role: &str, content: impl Into<String>) -> Self {
        Self { role: role.to_owned(), content: content.into(), ..Self::default() }
    }

    /// As templates take it, which is as OpenAI's interface does.
    pub(super) fn message(&self) -> Json {
        let mut message = Map::new();
        message.insert("role".into(), json!(self.role));
        message.insert("content".into(), json!(self.content));
        if !self.reasoning.is_empty() {
            message.insert("reasoning_content".into(), json!(self.reasoning));
        }
        if !self.calls.is_empty() {
            let calls = self.calls.iter().map(|call| {
                let function = json!({ "name": call.name, "arguments": call.arguments });
                json!({ "type": "function", "id": call.id, "function": function })
            });
            message.insert("tool_calls".into(), calls.collect());
        }
        if let Some((id, name)) = &self.of {
            message.insert("tool_call_id".into(), json!(id));
            message.insert("name".into(), json!(name));
        }
        message.into()
    }
}

/// What is known of a conversation, and saved with it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Talk {
    /// All turns but the system prompt.
    pub turns: Vec<Turn>,
    /// The first of them that is in the context.
    pub first: usize,
    /// What the model wrote of those before it.
    pub summary: Option<String>,
    pub system: Option<String>,
    /// What was the case before each thing that the user said.
    before: Vec<Before>,
}

/// See [`Talk::before`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Before {
    /// The number of turns.
    turns: usize,
    first: usize,
    summary: Option<String>,
    /// Mirostat's limit.
    limit: f32,
}

impl Talk {
    /// One that has not begun.
    pub fn new(system: Option<String>) -> Self {
        Self { system, ..Self::default() }
    }

    /// The user says something, while mirostat's limit is `limit`.
    pub fn say(&mut self, text: String, limit: f32) {
        let (turns, first, summary) = (self.turns.len(), self.first, self.summary.clone());
        self.before.push(Before { turns, first, summary, limit });
        self.turns.push(Turn::new("user", text));
    }

    /// Takes back the last thing that the user said and all that followed. Returns it, and mirostat's limit before; nothing
    /// where nothing was said.
    pub fn take_back(&mut self) -> Option<(Turn, f32)> {
        let before = self.before.pop()?;
        let said = self.turns.drain(before.turns..).next()?;
        (self.first, self.summary) = (before.first, before.summary);
        Some((said, before.limit))
    }

    /// Whether it can have come about, wherever it was read.
    pub fn is_sound(&self) -> bool {
        let said = self.turns.iter().enumerate().filter(|(_, turn)| turn.role == "user").map(|(at, _)| at);
        let fits = |before: &Before| before.first <= before.turns && before.limit.is_finite();
        said.eq(self.before.iter().map(|before| before.turns))
            && self.before.iter().all(fits)
            && self.first <= self.turns.len()
    }

    /// The system prompt, with the summary of what gave way.
    pub fn opening(&self, summary: Option<&str>) -> Option<Turn> {
        let content = match (self.system.as_deref(), summary) {
            (system, None) => system?.to_owned(),
            (system, Some(summary)) => {
                let before = system.map(|system| format!("{system}\n\n")).unwrap_or_default();
                format!("{before}Summary of the conversation so far: {summary}")
            }
        };
        Some(Turn::new("system", content))
    }
}
