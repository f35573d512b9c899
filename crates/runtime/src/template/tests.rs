use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{ChatTemplate, Message, Options};
use crate::Error;

const USER: &[Message<'_>] = &[Message { role: "user", content: "Hi" }];

fn render(source: &str) -> Result<String, Error> {
    ChatTemplate::new(source)?.render(USER, Options::default())
}

/// What real Jinja2 wrote (tests/templates/render.py), for the template of SmolLM2, for chatml and for one that
/// uses all that templates in the wild lean on.
#[test]
fn every_case_is_rendered_as_by_jinja2() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/templates");
    let cases = fs::read_to_string(folder.join("cases.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&cases).unwrap();
    assert!(cases.len() >= 24);
    for case in &cases {
        let name = case["template"].as_str().unwrap();
        let source = fs::read_to_string(folder.join(name)).unwrap();
        let template = ChatTemplate::new(&source).unwrap();
        let messages: Vec<_> = case["messages"].as_array().unwrap().iter().collect();
        let messages: Vec<_> = messages
            .iter()
            .map(|m| Message { role: m[0].as_str().unwrap(), content: m[1].as_str().unwrap() })
            .collect();
        let options = Options {
            add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap(),
            bos: "<s>",
            eos: "</s>",
        };
        let rendered = template.render(&messages, options);
        match case["refused"].as_str() {
            None => assert_eq!(rendered.unwrap(), case["text"].as_str().unwrap(), "{name}"),
            Some(words) => {
                let error = rendered.unwrap_err();
                assert!(matches!(&error, Error::Conversation { words: ours } if ours == words), "{error}");
            }
        }
        if name == "chatml.jinja" {
            assert_eq!(
                ChatTemplate::chatml().render(&messages, options).unwrap(),
                case["text"].as_str().unwrap()
            );
        }
    }
}

#[test]
fn a_file_without_a_template_gets_the_named_fallback() {
    assert_eq!(ChatTemplate::new_or_chatml(None).unwrap().name(), "chatml");
    assert_eq!(ChatTemplate::new_or_chatml(Some("{{ 1 }}")).unwrap().name(), "chat template");
}

#[test]
fn a_broken_template_is_named_with_its_line() {
    let error = ChatTemplate::new("first\n{% for m in messages %}\n{{ m.role").unwrap_err();
    assert!(matches!(error, Error::Template { line: Some(3), .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with("the chat template is broken at line 3 (") && !text.contains('\n'), "{text}");

    let error = render("{{ 1 }}\n{{ messages | no_such_filter }}").unwrap_err();
    assert!(matches!(error, Error::Template { line: Some(2), .. }), "{error:?}");
    assert!(error.to_string().contains("no_such_filter"), "{error}");
}

#[test]
fn a_template_that_never_ends_is_stopped() {
    let loops = "{% for a in range(9999) %}".repeat(4) + "x" + &"{% endfor %}".repeat(4);
    let error = render(&loops).unwrap_err();
    assert!(error.to_string().contains("too many steps"), "{error}");
    assert!(render("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").is_err());
}

#[test]
fn the_clock_is_read_by_c_format_letters() {
    let text = render("{{ strftime_now('%Y-%m-%d %H:%M %B %b %A %d') }}").unwrap();
    let year: i32 = text[..4].parse().unwrap();
    assert!((2024..9999).contains(&year) && text.len() > 25, "{text}");
    assert!(render("{{ strftime_now('%!') }}").is_err());
}

#[test]
fn control_characters_and_quotes_are_escaped_in_json() {
    let text = render(r#"{{ "\u0001\"\\\t\n\r\b\f/<>&'" | tojson }}"#);
    assert_eq!(text.unwrap(), r#""\u0001\"\\\t\n\r\b\f/<>&'""#);
    assert_eq!(render("{{ '🦀' | tojson(ensure_ascii=true) }}").unwrap(), r#""\ud83e\udd80""#);
    assert!(render("{{ 1 | tojson(indentation=2) }}").is_err());
}
