//! Tools that the model may call: the person is asked, and the command runs.

use std::io::{IsTerminal, stderr};

use stonechat_runtime::Interrupt;
use stonechat_runtime::chat::CallResult;
use stonechat_runtime::tools::{Outcome, Tool, ToolCall};

use super::input::{Input, Permission};
use crate::failure::Failure;
use crate::terminal::harmless;

/// So often a model may call tools before it answers.
pub const MOST_ROUNDS: usize = 8;

/// The declared tools.
pub struct Tools {
    pub list: Vec<Tool>,
    /// Whether they run without asking.
    pub yes: bool,
}

impl Tools {
    /// Answers calls in their order. The model is told of each what came of it, or why nothing did.
    pub fn answer(
        &self,
        calls: &[ToolCall],
        input: &mut Input,
        interrupt: &Interrupt,
    ) -> Result<Vec<CallResult>, Failure> {
        let result =
            |call: &ToolCall, content| CallResult { id: call.id.clone(), name: call.name.clone(), content };
        calls.iter().map(|call| Ok(result(call, self.content(call, input, interrupt)?))).collect()
    }

    /// What the model is told of a call.
    fn content(&self, call: &ToolCall, input: &mut Input, interrupt: &Interrupt) -> Result<String, Failure> {
        let Some(tool) = self.list.iter().find(|tool| tool.name() == call.name) else {
            let names: Vec<_> = self.list.iter().map(Tool::name).collect();
            return Ok(format!("error: there is no tool '{}'; there are: {}", call.name, names.join(", ")));
        };
        let shown = format!("{}({})", call.name, serde_json::to_string(&call.arguments).unwrap_or_default());
        let shown = unmistakable(&shown);
        let permission = if self.yes { Permission::Given } else { input.may(&format!("run {shown}?"))? };
        match permission {
            Permission::Given => (),
            Permission::Refused => return Ok("error: the user did not allow this call".into()),
            Permission::NobodyThere => {
                return Ok("error: this call was not allowed: nobody is there to be asked".into());
            }
        }
        if stderr().is_terminal() && self.yes {
            eprintln!("(runs {shown})");
        }
        let ran = tool.call(&call.arguments, &|| interrupt.is_raised());
        let why = match ran.outcome {
            Outcome::Done => None,
            Outcome::TooLong => Some(format!("wrote more than {} bytes, and was cut", tool.output_limit())),
            _ => ran.content.lines().last().map(|line| line.trim_start_matches("error: ").to_owned()),
        };
        if let Some(why) = why.filter(|_| stderr().is_terminal()) {
            eprintln!("({}: {})", tool.name(), harmless(&why));
        }
        Ok(ran.content)
    }
}

/// Text that a person decides by: what could make it look like another text is written out. (Invisible characters, and those
/// that turn the direction of others, are part of honest text, but not of an honest command.)
fn unmistakable(text: &str) -> String {
    let hides = |c: char| {
        matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' |
            '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    };
    let mut out = String::new();
    for c in text.chars() {
        if c.is_control() || hides(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::unmistakable;

    #[test]
    fn what_would_look_like_another_text_is_written_out() {
        assert_eq!(unmistakable("rm \u{202e}fdp.x\u{200b} é\n"), r"rm \u{202e}fdp.x\u{200b} é\u{a}");
    }
}
