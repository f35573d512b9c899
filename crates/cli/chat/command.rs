//! What a line that begins with a slash asks for.

use std::path::PathBuf;

/// What `/help` says.
pub const HELP: &str = "\
/system [TEXT]   show the system prompt, or replace it (nothing after a space: none)
/undo            take back the last message and its answer
/retry           answer the last message again, otherwise
/clear           forget all turns
/save FILE       keep the conversation, with all that has been computed of it
/load FILE       go on with one that was kept
/context         how full the context is
/stats           what the last answer took
/quit            end, as Ctrl-D does
A line that ends with \\ goes on in the next; a text of several lines can be pasted. Ctrl-C stops an answer.";

/// See [`HELP`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    Help,
    Quit,
    System(Option<String>),
    Save(PathBuf),
    Load(PathBuf),
    Undo,
    Retry,
    Clear,
    Context,
    Stats,
}

impl Command {
    /// The command of a line, if it is one; or what is wrong with it. A path, which begins with a slash too but goes on with
    /// another before any space, is no command.
    pub fn parse(line: &str) -> Option<Result<Self, String>> {
        let words = line.strip_prefix('/')?;
        let (name, rest) = words
            .split_once(char::is_whitespace)
            .map_or((words.trim(), None), |(name, rest)| (name, Some(rest.trim())));
        if name.contains('/') {
            return None;
        }
        let file = |make: fn(PathBuf) -> Self| match rest.filter(|rest| !rest.is_empty()) {
            Some(path) => Ok(make(path.into())),
            None => Err(format!("/{name} needs the name of a file: /{name} FILE")),
        };
        Some(match name {
            "help" | "?" => Ok(Self::Help),
            "quit" | "exit" | "bye" => Ok(Self::Quit),
            "system" => Ok(Self::System(rest.map(str::to_owned))),
            "save" => file(Self::Save),
            "load" => file(Self::Load),
            "undo" => Ok(Self::Undo),
            "retry" => Ok(Self::Retry),
            "clear" => Ok(Self::Clear),
            "context" => Ok(Self::Context),
            "stats" => Ok(Self::Stats),
            _ => Err(format!("there is no command /{name}; /help lists them")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_a_slash_are_commands() {
        let parse = |line| Command::parse(line).expect("a command");
        assert_eq!(parse("/help\n"), Ok(Command::Help));
        assert_eq!(parse("/system"), Ok(Command::System(None)));
        assert_eq!(parse("/system  Be brief. "), Ok(Command::System(Some("Be brief.".into()))));
        assert_eq!(parse("/system "), Ok(Command::System(Some(String::new()))));
        assert_eq!(parse("/save a b.chat"), Ok(Command::Save("a b.chat".into())));
        assert!(parse("/save").is_err_and(|reason| reason.contains("/save FILE")));
        assert!(parse("/sing").is_err_and(|reason| reason.contains("no command /sing")));
    }

    #[test]
    fn other_lines_are_said() {
        for line in ["hello", " /help", "/etc/passwd is a file", ""] {
            assert_eq!(Command::parse(line), None, "{line}");
        }
    }
}
