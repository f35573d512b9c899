//! gpt-oss's channels ("harmony"): messages with headers, `<|start|>assistant to=functions.f<|channel|>commentary
//! json<|message|>{…}<|call|>`. Source: <https://cookbook.openai.com/articles/openai-harmony>.

use super::Written;

/// What a marker or text brings forth.
pub(super) enum Part {
    Text(String),
    Call(Written),
}

/// Where in a message the text is. A model begins within a header, after `<|start|>assistant`.
#[derive(Debug)]
pub(super) struct Channels {
    /// The header so far, with markers as spaces; none within a message.
    header: Option<String>,
    /// Whether any marker came: without one the whole text is a message.
    marked: bool,
    /// To whom the message goes, if not to the reader, and the message so far.
    call: Option<(String, String)>,
    /// Whether the message is for nobody: a thought.
    silent: bool,
}

impl Default for Channels {
    fn default() -> Self {
        Self { header: Some(String::new()), marked: false, call: None, silent: false }
    }
}

impl Channels {
    pub const MARKERS: &[&str] =
        &["<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>"];
    const MESSAGE: usize = 3;
    const CHANNEL: usize = 1;
    const CONSTRAIN: usize = 2;

    pub fn text(&mut self, text: String) -> Option<Part> {
        if let Some(header) = &mut self.header {
            header.push_str(&text);
            return None;
        }
        match &mut self.call {
            Some((_, message)) => {
                message.push_str(&text);
                None
            }
            None => Some(Part::Text(text)).filter(|_| !self.silent),
        }
    }

    pub fn marker(&mut self, marker: usize) -> Option<Part> {
        self.marked = true;
        match (marker, &mut self.header) {
            (Self::CHANNEL, Some(header)) => header.push_str(" channel="),
            (Self::CONSTRAIN, Some(header)) => header.push(' '),
            (Self::MESSAGE, header) => {
                let header = header.take().unwrap_or_default();
                let word = |prefix| header.split_whitespace().find_map(|word| word.strip_prefix(prefix));
                let recipient = word("to=").filter(|name| *name != "user" && *name != "assistant");
                let name = recipient.map(|name| name.strip_prefix("functions.").unwrap_or(name).to_owned());
                self.silent = word("channel=") == Some("analysis") && name.is_none();
                self.call = name.map(|name| (name, String::new()));
            }
            _ => {
                let part = self.close();
                let channel = if marker == Self::CHANNEL { " channel=" } else { "" };
                self.header = Some(channel.to_owned());
                return part;
            }
        }
        None
    }

    pub fn finish(&mut self, rest: &str) -> Option<Part> {
        if self.marked {
            let part = self.text(rest.to_owned());
            return self.close().or(part);
        }
        Some(Part::Text(self.header.take().unwrap_or_default() + rest))
    }

    /// A message is complete.
    fn close(&mut self) -> Option<Part> {
        let (name, message) = self.call.take()?;
        Some(match serde_json::from_str(&message) {
            Ok(arguments) => Part::Call(Written { id: None, name, arguments }),
            Err(_) => Part::Text(message),
        })
    }
}
