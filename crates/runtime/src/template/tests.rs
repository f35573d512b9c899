use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{ChatTemplate, Options};
use crate::Error;

fn render(source: &str) -> Result<String, Error> {
    let user = json!({ "role": "user", "content": "Hi" });
    ChatTemplate::new(source)?.render(&[user], Options::default())
}

/// What transformers made of the conversations in a folder (`tests/golden/make/templates_golden.py`). Says how many cases
/// there were.
fn check(folder: &Path) -> usize {
    let goldens = fs::File::open(folder.join("cases.json.gz")).unwrap();
    let goldens: Value = serde_json::from_reader(flate2::read::GzDecoder::new(goldens)).unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(goldens["now"].as_u64().unwrap());
    // How many differ of each template, and the first.
    let mut wrong: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    let cases = goldens["cases"].as_array().unwrap();
    for case in cases {
        let name = case["template"].as_str().unwrap();
        let messages = &goldens["conversations"][case["messages"].as_u64().unwrap() as usize];
        let mut more = case["options"].as_object().unwrap().clone();
        let documents = more.remove("documents");
        let options = Options {
            add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap(),
            bos: "<s>",
            eos: "</s>",
            tools: case["tools"].as_bool().unwrap().then(|| goldens["tools"].as_array().unwrap().as_slice()),
            documents: documents.as_ref().map(|list| list.as_array().unwrap().as_slice()),
            more: Some(&more),
            now: Some(now),
        };
        let source = fs::read_to_string(folder.join(name)).unwrap();
        let rendered = ChatTemplate::new(&source)
            .and_then(|template| template.render(messages.as_array().unwrap(), options));
        let same = match &rendered {
            Ok(text) => case["text"].as_str() == Some(text),
            Err(Error::Conversation { words }) => case["refused"].as_str() == Some(words),
            // What else Python stops at we may take more easily, or stop at too.
            Err(_) => case["fails"].is_string(),
        };
        if !same && !case["fails"].is_string() {
            let (count, _) = wrong.entry(name).or_insert((0, format!("{case}\nbut\n{rendered:?}")));
            *count += 1;
        }
        if name == "chatml.jinja"
            && let Ok(rendered) = rendered
        {
            let ours = ChatTemplate::chatml().render(messages.as_array().unwrap(), options);
            assert_eq!(ours.unwrap(), rendered);
        }
    }
    assert!(wrong.is_empty(), "of {} cases differ {wrong:#?}", cases.len());
    cases.len()
}

#[test]
fn every_case_is_rendered_as_by_transformers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/templates");
    assert!(check(&folder) >= 400);
}

/// Templates that may not be committed here.
#[test]
fn further_templates_are_rendered_as_by_transformers() {
    let Some(folder) = std::env::var_os("STONECHAT_GOLDEN") else { return };
    let folder = Path::new(&folder).join("templates");
    if folder.join("cases.json.gz").exists() {
        check(&folder);
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
