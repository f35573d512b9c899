use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Text and calls of an answer that comes in pieces, neighbouring texts joined.
fn read(format: CallFormat, answer: &str, cuts: &[usize]) -> Vec<Part> {
    let mut reader = CallReader::new(format);
    let mut parts: Vec<Part> = Vec::new();
    let mut take = |part| match (parts.last_mut(), part) {
        (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
        (_, part) => parts.push(part),
    };
    let mut begin = 0;
    for &cut in cuts {
        if answer.is_char_boundary(cut) && cut > begin {
            reader.push(&answer[begin..cut], &mut take);
            begin = cut;
        }
    }
    reader.push(&answer[begin..], &mut take);
    reader.finish(&mut take);
    parts
}

fn text(text: &str) -> Part {
    Part::Text(text.to_owned())
}

fn call(id: &str, name: &str, arguments: Value) -> Part {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    Part::Call(ToolCall { id: id.to_owned(), name: name.to_owned(), arguments })
}

/// Answers as the families' own templates write them, and what is in them.
fn cases() -> Vec<(CallFormat, &'static str, Vec<Part>)> {
    use CallFormat::{DeepSeek, Gemma, GptOss, Hermes, Llama, Mistral};
    let zurich = || json!({"city": "Zürich", "days": 2});
    vec![
        (
            Llama,
            r#"{"name": "weather", "parameters": {"city": "Zürich", "days": 2}}"#,
            vec![call("call00000", "weather", zurich())],
        ),
        (
            Llama,
            "<|python_tag|>{\"type\": \"function\", \"name\": \"a\", \"parameters\": {}}; {\"name\": \"b\"}\n",
            vec![call("call00000", "a", json!({})), call("call00001", "b", json!({}))],
        ),
        (
            Llama,
            "Let me see.<|python_tag|>{\"name\": \"a\", \"parameters\": {}}",
            vec![text("Let me see."), call("call00000", "a", json!({}))],
        ),
        (Llama, "{\"answer\": 42} is JSON, and no call", vec![text("{\"answer\": 42} is JSON, and no call")]),
        (Llama, "{\"name\": 7}", vec![text("{\"name\": 7}")]),
        (
            Hermes,
            "Yes.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Zürich\", \"days\": 2}}\n</tool_call>\n<tool_call>\n{\"name\": \"b\", \"arguments\": \"{\\\"x\\\": [1]}\"}\n</tool_call>",
            vec![
                text("Yes.\n"),
                call("call00000", "weather", zurich()),
                text("\n"),
                call("call00001", "b", json!({"x": [1]})),
            ],
        ),
        (
            Hermes,
            "<tool_call>{\"name\": \"a\", \"arguments\": {\"s\": \"<tool_call>\"}}",
            vec![call("call00000", "a", json!({"s": "<tool_call>"}))],
        ),
        (Hermes, "<tool_call>no JSON</tool_call> < 3", vec![text("<tool_call>no JSON</tool_call> < 3")]),
        (
            Mistral,
            "[TOOL_CALLS][{\"name\": \"weather\", \"arguments\": {\"city\": \"Zürich\", \"days\": 2}, \"id\": \"abcdefgh1\"}, {\"name\": \"b\", \"arguments\": {}}]</s>",
            vec![call("abcdefgh1", "weather", zurich()), call("call00001", "b", json!({}))],
        ),
        (
            Mistral,
            "Well [TOOL_CALLS]weather[CALL_ID]abcdefgh1[ARGS]{\"city\": \"Zürich\", \"days\": 2}[TOOL_CALLS]b[ARGS]{}",
            vec![text("Well "), call("abcdefgh1", "weather", zurich()), call("call00001", "b", json!({}))],
        ),
        (
            DeepSeek,
            "Ja<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"city\": \"Zürich\", \"days\": 2}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>b\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            vec![text("Ja"), call("call00000", "weather", zurich()), call("call00001", "b", json!({}))],
        ),
        (
            DeepSeek,
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"city\": \"Zürich\", \"days\": 2}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            vec![call("call00000", "weather", zurich())],
        ),
        (
            GptOss,
            "<|start|>assistant<|channel|>commentary<|message|>I look.<|end|><|start|>assistant to=functions.weather<|channel|>commentary <|constrain|>json<|message|>{\"city\": \"Zürich\", \"days\": 2}<|call|>",
            vec![text("I look."), call("call00000", "weather", zurich())],
        ),
        (
            GptOss,
            "<|channel|>commentary to=functions.b json<|message|>{}<|call|><|start|>assistant<|channel|>final<|message|>Done <|<|return|>",
            vec![call("call00000", "b", json!({})), text("Done <|")],
        ),
        (
            GptOss,
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi",
            vec![text("Hi")],
        ),
        (GptOss, "no channel", vec![text("no channel")]),
        (
            Gemma,
            "<|tool_call>call:weather{city:<|\"|>Zürich<|\"|>,days:2}<tool_call|> so",
            vec![call("call00000", "weather", zurich()), text(" so")],
        ),
        (
            Gemma,
            "<start_function_call>call:b{l:[1,true,<escape>},{<escape>],o:{<escape>k<escape>:None, e:{}, f:-1.5}}<end_function_call>",
            vec![call(
                "call00000",
                "b",
                json!({"l": [1, true, "},{"], "o": {"k": null, "e": {}, "f": -1.5}}),
            )],
        ),
        (Gemma, "<|tool_call>call:b{l:[1<tool_call|>", vec![text("<|tool_call>call:b{l:[1<tool_call|>")]),
    ]
}

#[test]
fn calls_of_every_family_are_read() {
    for (format, answer, parts) in cases() {
        assert_eq!(read(format, answer, &[]), parts, "{format:?}: {answer}");
    }
}

/// What a template writes is what its reader reads.
#[test]
fn calls_that_templates_write_are_read_again() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/templates");
    let arguments = json!({"city": "Zürich \"x\" <b>", "days": [1, 2.5, null, true], "deep": {"a": "\n"}});
    for (name, format) in [
        ("qwen2.5", CallFormat::Hermes),
        ("qwen3", CallFormat::Hermes),
        ("mistral-nemo", CallFormat::Mistral),
        ("mistral-small-3.2", CallFormat::Mistral),
        ("deepseek-r1-distill-qwen", CallFormat::DeepSeek),
        ("gpt-oss", CallFormat::GptOss),
    ] {
        let source = std::fs::read_to_string(folder.join(format!("{name}.jinja"))).unwrap();
        assert_eq!(CallFormat::of_template(&source), Some(format), "{name}");
        let template = crate::ChatTemplate::new(&source).unwrap();
        let function = json!({"name": "weather", "arguments": arguments});
        let called = json!({"type": "function", "id": "abcdefgh1", "function": function});
        let user = json!({"role": "user", "content": "Hi"});
        let assistant = json!({"role": "assistant", "content": "", "tool_calls": [called]});
        let options = crate::template::Options::default();
        let before = template.render(std::slice::from_ref(&user), options).unwrap();
        let whole = template.render(&[user, assistant], options).unwrap();
        let answer = &whole[before.len()..];
        let parts = read(format, answer, &[]);
        let calls: Vec<_> =
            parts.iter().filter_map(|part| if let Part::Call(c) = part { Some(c) } else { None }).collect();
        assert_eq!(calls.len(), 1, "{name}: {answer}");
        assert_eq!(calls[0].name, "weather", "{name}");
        assert_eq!(Value::Object(calls[0].arguments.clone()), arguments, "{name}");
        assert!(calls[0].id == "abcdefgh1" || format != CallFormat::Mistral, "{name}");
    }
}

#[test]
fn text_is_passed_on_as_soon_as_it_is_no_call() {
    let mut reader = CallReader::new(CallFormat::Llama);
    let mut parts = Vec::new();
    reader.push("{\"an", &mut |part| parts.push(part));
    assert_eq!(parts, [text("{\"an")]);
    let mut reader = CallReader::new(CallFormat::Hermes);
    let mut parts = Vec::new();
    reader.push("so <tool", &mut |part| parts.push(part));
    assert_eq!(parts, [text("so ")]);
}

proptest! {
    #[test]
    fn where_an_answer_is_cut_makes_no_difference(
        which in 0usize..19,
        mut cuts in prop::collection::vec(0usize..400, 0..12),
    ) {
        let cases = cases();
        let (format, answer, parts) = &cases[which % cases.len()];
        cuts.sort_unstable();
        cuts.retain(|cut| *cut <= answer.len());
        prop_assert_eq!(&read(*format, answer, &cuts), parts);
        let every: Vec<usize> = (0..=answer.len()).collect();
        prop_assert_eq!(&read(*format, answer, &every), parts);
    }

    /// Nothing panics, nothing is lost but tags, whatever comes.
    #[test]
    fn anything_may_come_in_any_pieces(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "{\"name\": \"a\"", "}", "{", "[", "]",
                ", \"arguments\": {}", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁calls▁end｜>", "<|start|>", "<|channel|>",
                "<|message|>", "<|call|>", " to=functions.f", "<|tool_call>", "call:f{", "<|\"|>", "<tool_call|>", "a", ":", ",",
                "<|python_tag|>", "é", "<", "\n",
            ]),
            0..20,
        ),
        format in prop::sample::select(vec![
            CallFormat::Llama, CallFormat::Hermes, CallFormat::Mistral, CallFormat::DeepSeek, CallFormat::GptOss, CallFormat::Gemma,
        ]),
    ) {
        let answer = pieces.concat();
        let every: Vec<usize> = (0..=answer.len()).collect();
        prop_assert_eq!(read(format, &answer, &[]), read(format, &answer, &every));
    }
}
