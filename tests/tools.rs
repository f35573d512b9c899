//! Tools that a model calls in `stonechat chat`, with the default model. It was not trained to: a template shows it how.
#![cfg(all(feature = "chat", unix))]

mod common;

use std::fs;
use std::path::PathBuf;

use common::talk::{Terminal, answers, said, text};

const TEMPLATE: &str = r#"
{%- if tools %}<|im_start|>system
You have these tools: {% for tool in tools %}{{ tool.function.name }} {% endfor %}
To call one, write <tool_call>{"name": NAME, "arguments": ARGUMENTS}</tool_call><|im_end|>
{% for city in ['Rome', 'Berlin'] %}<|im_start|>user
What time is it in {{ city }}?<|im_end|>
<|im_start|>assistant
<tool_call>{"name": "clock", "arguments": {"city": "{{ city }}"}}</tool_call><|im_end|>
{% endfor %}{% endif %}{% for m in messages %}<|im_start|>{% if m.role == 'tool' %}user
The tool says: {{ m.content }}. Say that in one sentence.{% else %}{{ m.role }}
{% for call in m.tool_calls %}<tool_call>{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}</tool_call>{% endfor %}{{ m.content }}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"#;

/// A folder with the template and a tool that notes what it was asked.
struct Kit {
    home: tempfile::TempDir,
}

impl Kit {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        fs::write(home.path().join("tools.jinja"), TEMPLATE).expect("a file");
        let tools = format!(
            r#"[[tools]]
name = "clock"
description = "Tells the time in a city."
command = ["sh", "-c", 'cat >> "$0"; echo "It is half past nine in $1"', "{}", "{{city}}"]
[tools.parameters]
type = "object"
required = ["city"]
properties.city = {{ type = "string" }}
"#,
            home.path().join("called").display()
        );
        fs::write(home.path().join("tools.toml"), tools).expect("a file");
        Self { home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn arguments(&self) -> Vec<String> {
        let path = |name: &str| self.path(name).to_str().expect("UTF-8").to_owned();
        let words = ["-n", "40", "-t", "1", "--prompt-cache", "0", "--chat-template"].map(str::to_owned);
        let mut words = words.to_vec();
        words.extend([
            path("tools.jinja"),
            "--tools".into(),
            path("tools.toml"),
            "--session".into(),
            path("a.chat"),
        ]);
        words
    }

    /// What was said and heard so far, as it lies in the session.
    fn kept(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("a.chat")).expect("a session")).into_owned()
    }
}

fn ask(kit: &Kit, more: &[&str]) -> String {
    let arguments = kit.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
    answers(kit.home.path(), &arguments, "What time is it in Paris?\n").0
}

#[test]
fn a_call_that_is_allowed_runs_and_the_model_goes_on_with_what_it_gave() {
    let kit = Kit::new();
    let answer = ask(&kit, &["--yes"]);
    assert_eq!(fs::read_to_string(kit.path("called")).expect("it ran"), "{\"city\":\"Paris\"}");
    assert!(answer.contains("nine in Paris") && !answer.contains("tool_call"), "{answer}");
    let kept = kit.kept();
    assert!(
        kept.contains(r#""content":"It is half past nine in Paris","of":["call00000","clock"]"#),
        "{kept}"
    );
}

#[test]
fn through_a_pipe_nobody_is_asked_so_nothing_runs_and_the_model_is_told() {
    let kit = Kit::new();
    ask(&kit, &[]);
    assert!(!kit.path("called").exists());
    assert!(kit.kept().contains("this call was not allowed: nobody is there to be asked"));
}

#[test]
fn a_tool_that_is_not_there_or_fails_is_told_the_model() {
    let kit = Kit::new();
    let tools = fs::read_to_string(kit.path("tools.toml")).expect("a file");
    for (from, to, told) in [
        ("\"clock\"", "\"watch\"", "error: there is no tool 'clock'; there are: watch"),
        ("\"sh\"", "\"/no/such/program\"", "/no/such/program cannot be run: No such file or directory"),
    ] {
        fs::write(kit.path("tools.toml"), tools.replacen(from, to, 1)).expect("a file");
        let _ = fs::remove_file(kit.path("a.chat"));
        ask(&kit, &["--yes"]);
        let kept = kit.kept();
        assert!(kept.contains(told), "{told}: {kept}");
    }
}

#[test]
fn a_person_is_asked() {
    if common::is_emulated() {
        return;
    }
    let kit = Kit::new();
    let mut terminal = Terminal::start(kit.home.path(), &kit.arguments().join(" "));
    let at = terminal.wait_for("> ", 0);
    terminal.keys("What time is it in Paris?\r");
    let at = terminal.wait_for("run clock({\"city\":\"Paris\"})? [y/N]", at);
    terminal.keys("no\r");
    let at = terminal.wait_for("> ", at);
    assert!(!kit.path("called").exists());
    terminal.keys("/undo\r");
    let at = terminal.wait_for("> ", at);
    terminal.keys("What time is it in Paris?\r");
    let at = terminal.wait_for("[y/N]", at);
    terminal.keys("y\r");
    terminal.wait_for("nine in Paris", at);
    let at = terminal.wait_for("> ", at);
    assert!(kit.path("called").exists());
    terminal.keys("/quit\r");
    terminal.wait_for("/quit", at);
    terminal.ends();
}

#[test]
fn tools_for_a_model_that_knows_none_are_refused() {
    let kit = Kit::new();
    let tools = kit.path("tools.toml");
    let output = said(kit.home.path(), &["--tools", tools.to_str().expect("UTF-8")], "Hi\n");
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("tells a model of no tools; give a model") && err.lines().count() == 1, "{err}");
}
