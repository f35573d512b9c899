//! Answers under a schema or grammar: always complete, always what was asked for, whatever is sampled and however few tokens
//! there may be.

#![cfg(feature = "grammar")]

mod common;

use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::{Value, json};
use stonechat_core::{Sampler, Sampling};
use stonechat_runtime::draft::{Draft, Lookup};
use stonechat_runtime::engine::Options;
use stonechat_runtime::generate::Counts;
use stonechat_runtime::grammar::{Grammar, Grammars, Language};
use stonechat_runtime::{Constraint, Engine, Error, Generator};

/// Tokens that an answer has at most.
const MOST: usize = 150;

/// SmolLM2, and what grammars for it share. One at a time: two would share the cores.
struct Model {
    engine: Engine,
    grammars: Grammars,
    prompt: Vec<u32>,
}

fn model() -> std::sync::MutexGuard<'static, Model> {
    static MODEL: OnceLock<Mutex<Model>> = OnceLock::new();
    let model = MODEL.get_or_init(|| {
        let options = Options { context: Some(512), batch: 64, outputs: 9, ..Options::default() };
        let engine = Engine::load(common::smollm2(), &options).expect("a model");
        let grammars = Grammars::new(&engine).expect("tokens");
        let text = "<|im_start|>user\nDescribe a person as JSON.<|im_end|>\n<|im_start|>assistant\n";
        let options = stonechat_core::vocabulary::Encode { bos: false, special: true };
        let prompt = engine.encode(text.as_bytes(), options).expect("a prompt");
        Mutex::new(Model { engine, grammars, prompt })
    });
    model.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Free enough that a small model says what it should not.
fn wild(seed: u64) -> Sampling {
    Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed, ..Sampling::default() }
}

impl Model {
    /// An answer of at most `most` tokens.
    fn answer(&mut self, grammar: &Grammar, sampling: Sampling, most: usize) -> Vec<u32> {
        self.guessed(grammar, sampling, most, None).0
    }

    /// The same with guesses, and what these brought.
    fn guessed(
        &mut self,
        grammar: &Grammar,
        sampling: Sampling,
        most: usize,
        draft: Option<Box<dyn Draft + Send>>,
    ) -> (Vec<u32>, Counts) {
        let engine = &mut self.engine;
        let sampler = Sampler::new(sampling).expect("sensible parameters");
        let mut generator = draft.map_or_else(Generator::new, |draft| Generator::with_draft(draft, 8));
        generator.set_constraint(Some(Box::new(grammar.clone())));
        generator.begin_answer(most).expect("room for the shortest");
        let kept = engine.wind_back(self.prompt.len() - 1);
        engine.feed(&self.prompt[kept..]).expect("a prompt");
        let mut tokens = self.prompt.clone();
        while tokens.len() < self.prompt.len() + most {
            let token = generator.next(engine, &sampler, &mut tokens).expect("a token");
            if engine.vocabulary().is_end_of_generation(token) {
                tokens.pop();
                break;
            }
        }
        (tokens.split_off(self.prompt.len()), generator.counts())
    }

    fn text(&self, tokens: &[u32]) -> String {
        let mut buffer = vec![0; self.engine.vocabulary().max_piece_len()];
        let bytes = tokens.iter().flat_map(|token| {
            self.engine.vocabulary().piece(*token, false, &mut buffer).expect("a piece").to_vec()
        });
        String::from_utf8(bytes.collect()).expect("whole characters")
    }

    fn read(&self, language: Language, text: &str) -> Grammar {
        self.grammars.read(language, text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }
}

/// Nested objects, enumerations, numbers with bounds, arrays, unions, strings with patterns and formats, references, and what
/// has no end of its own.
fn schemas() -> [Value; 10] {
    [
        json!({
            "type": "object", "required": ["name", "address"], "additionalProperties": false,
            "properties": {
                "name": { "type": "string" },
                "address": {
                    "type": "object", "required": ["street", "town"],
                    "properties": {
                        "street": { "type": "string", "minLength": 3 },
                        "town": { "type": "object", "required": ["name"], "properties": { "name": { "type": "string" } } },
                    },
                },
            },
        }),
        json!({
            "type": "object", "required": ["colour", "size"],
            "properties": { "colour": { "enum": ["red", "green", "dark blue", null] }, "size": { "enum": [1, 2.5, "large"] } },
        }),
        json!({
            "type": "object", "required": ["age", "share", "even"],
            "properties": {
                "age": { "type": "integer", "minimum": 18, "maximum": 99 },
                "share": { "type": "number", "exclusiveMinimum": 0, "maximum": 1 },
                "even": { "type": "integer", "multipleOf": 2, "minimum": 0, "maximum": 1000 },
            },
        }),
        json!({ "type": "array", "items": { "type": "integer", "minimum": -5, "maximum": 500 }, "minItems": 3, "maxItems": 9 }),
        json!({
            "anyOf": [
                { "type": "object", "required": ["kind", "radius"], "additionalProperties": false,
                  "properties": { "kind": { "const": "circle" }, "radius": { "type": "number" } } },
                { "type": "object", "required": ["kind", "width", "height"], "additionalProperties": false,
                  "properties": { "kind": { "const": "box" }, "width": { "type": "number" }, "height": { "type": "number" } } },
                { "type": "null" },
            ],
        }),
        json!({
            "type": "object", "required": ["plate", "phone"],
            "properties": {
                "plate": { "type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,4}$" },
                "phone": { "type": "string", "pattern": "^\\+[0-9]{2} [0-9]{6,10}$" },
            },
        }),
        json!({
            "type": "object", "required": ["born", "mail", "id"],
            "properties": {
                "born": { "type": "string", "format": "date" },
                "mail": { "type": "string", "format": "email" },
                "id": { "type": "string", "format": "uuid" },
            },
        }),
        json!({
            "$ref": "#/$defs/tree",
            "$defs": { "tree": {
                "type": "object", "required": ["label", "children"], "additionalProperties": false,
                "properties": {
                    "label": { "type": "string", "maxLength": 12 },
                    "children": { "type": "array", "items": { "$ref": "#/$defs/tree" } },
                },
            } },
        }),
        json!({
            "type": "object", "required": ["anything", "done"],
            "properties": { "anything": {}, "note": { "type": ["string", "null"] }, "done": { "type": "boolean" } },
        }),
        json!({
            "type": "array", "minItems": 2,
            "prefixItems": [{ "type": "string", "enum": ["north", "south"] }, { "type": "boolean" }],
            "items": { "type": "array", "items": { "type": "string" } },
        }),
    ]
}

#[test]
fn whatever_is_sampled_is_json_that_the_schema_allows() {
    let wanted = std::env::var("STONECHAT_GENERATIONS").ok();
    let wanted: usize = wanted.map_or(20, |text| text.parse().expect("STONECHAT_GENERATIONS is a number"));
    let mut model = model();
    let schemas = schemas().map(|schema| {
        let grammar = model.read(Language::JsonSchema, &schema.to_string());
        let judge = jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema");
        (schema, grammar, judge)
    });
    let (mut answers, mut tokens, mut cut) = (0, 0, 0);
    for number in 0..wanted {
        let (schema, grammar, judge) = &schemas[number % schemas.len()];
        let fewest = grammar.clone().fewest_tokens();
        // From the fewest tokens on, one more each time; then larger steps; and now and then as many as it likes.
        let most = match number / schemas.len() {
            // In a short run, too, there are answers that are free to be long.
            1 if number % 2 == 0 => MOST.max(fewest),
            round @ 0..30 => fewest + round,
            round if round % 2 == 0 => fewest + round * 2,
            _ => MOST.max(fewest),
        };
        let ids = model.answer(grammar, wild(number as u64), most);
        let text = model.text(&ids);
        let value: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{number}, of {most} tokens: {error}: {text}\n{schema}"));
        let complaints: Vec<String> = judge.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(complaints.is_empty(), "{number}, of {most} tokens: {text}\n{schema}\n{complaints:?}");
        answers += 1;
        tokens += ids.len();
        cut += usize::from(ids.len() == most);
        if answers % 100 == 0 {
            println!("{answers} answers, {tokens} tokens");
        }
    }
    println!(
        "{answers} answers of {tokens} tokens in all, {cut} of them as long as they could be: all valid"
    );
    assert!(answers >= schemas.len());
}

#[test]
fn formats_are_as_strict_as_their_judge() {
    let judged = |format: &str, text: &str| {
        let schema = json!({ "type": "string", "format": format });
        let judge = jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema");
        judge.is_valid(&json!(text))
    };
    let mut model = model();
    for (format, wrong) in [
        ("date", "2023-02-29"),
        ("date-time", "1900-02-29T00:00:00Z"),
        ("date-time", "2024-02-29T12:00:60Z"),
        ("time", "12:00:60Z"),
        ("email", "a-local-part-of-more-than-sixty-four-characters-which-is-not-allowed@b.c"),
        ("hostname", "a-label-of-more-than-sixty-three-characters-which-is-not-allowed-in-a-host.c"),
    ] {
        assert!(!judged(format, wrong), "{wrong} is no {format}");
        // The whole text as forced guesses: they must not be possible to the end.
        let schema = json!({ "type": "string", "format": format }).to_string();
        let mut grammar = model.read(Language::JsonSchema, &schema);
        grammar.begin(200).expect("room");
        let text = format!("\"{wrong}\"");
        let options = stonechat_core::vocabulary::Encode { bos: false, special: false };
        let ids = model.engine.encode(text.as_bytes(), options).expect("tokens");
        assert!(grammar.possible(&ids).expect("an answer") < ids.len(), "{text} is allowed");
    }
    for format in ["date", "date-time", "time", "email", "hostname", "ipv4", "ipv6", "uuid", "duration"] {
        let schema = json!({ "type": "string", "format": format }).to_string();
        let grammar = model.read(Language::JsonSchema, &schema);
        for seed in 0..3 {
            let ids = model.answer(&grammar, wild(seed), 60);
            let text: String = serde_json::from_str(&model.text(&ids)).expect("a string");
            assert!(judged(format, &text), "{text} is no {format}");
        }
    }
}

#[test]
fn too_few_tokens_are_refused_and_the_fewest_are_enough() {
    let mut model = model();
    for schema in schemas() {
        let grammar = model.read(Language::JsonSchema, &schema.to_string());
        let fewest = grammar.clone().fewest_tokens();
        let mut generator = Generator::new();
        generator.set_constraint(Some(Box::new(grammar.clone())));
        let error = generator.begin_answer(fewest - 1).expect_err("too few").to_string();
        assert!(
            error.contains(&format!("has {fewest} tokens, but there is room for {}", fewest - 1)),
            "{error}"
        );
        let ids = model.answer(&grammar, wild(1), fewest);
        assert_eq!(ids.len(), fewest, "{}", model.text(&ids));
        assert!(serde_json::from_str::<Value>(&model.text(&ids)).is_ok(), "{}", model.text(&ids));
    }
}

#[test]
fn guesses_change_nothing() {
    let mut model = model();
    let mut drafted = 0;
    let greedy = Sampling::default();
    let penal = Sampling { temperature: 0.8, repeat_penalty: 1.2, seed: 4, ..Sampling::default() };
    for (number, schema) in schemas().iter().enumerate().filter(|(number, _)| [0, 3, 7].contains(number)) {
        let grammar = model.read(Language::JsonSchema, &schema.to_string());
        for sampling in [greedy, penal] {
            let plain = model.answer(&grammar, sampling, 60);
            let lookup = Box::new(Lookup { shortest: 1, longest: 4 });
            let (same, counts) = model.guessed(&grammar, sampling, 60, Some(lookup));
            assert_eq!(same, plain, "schema {number}: {}", model.text(&plain));
            drafted += counts.drafted;
        }
    }
    assert!(drafted > 20, "{drafted}");
}

#[test]
fn a_draft_that_is_always_right_is_believed() {
    struct Known(Vec<u32>);
    impl Draft for Known {
        fn draft(
            &mut self,
            tokens: &[u32],
            most: usize,
            _: &Sampler<'_>,
            out: &mut Vec<u32>,
        ) -> Result<(), Error> {
            out.extend(self.0[tokens.len()..].iter().take(most));
            Ok(())
        }
    }
    let mut model = model();
    let grammar = model.read(Language::JsonSchema, &schemas()[0].to_string());
    let plain = model.answer(&grammar, wild(3), 80);
    let known = [&model.prompt[..], &plain].concat();
    let (same, counts) = model.guessed(&grammar, wild(3), 80, Some(Box::new(Known(known))));
    assert_eq!(same, plain);
    assert!(counts.accepted > 10 && counts.accepted == counts.drafted, "{counts:?}");
}

/// What an answer must be, and whether it is.
type Check = (Language, &'static str, fn(&str) -> bool);

#[test]
fn expressions_and_grammars_hold_at_any_length() {
    const LIST: &str = "root ::= item+\nitem ::= \"- \" [a-z]+ (\" \" [a-z]+){0,3} \"\\n\"\n";
    const SUM: &str = "# sums in parentheses\nroot ::= sum\nsum ::= term (\" + \" term)*\n\
                       term ::= [0-9]{1,3} | \"(\" sum \")\"\n";
    fn is_list(text: &str) -> bool {
        text.ends_with('\n') && text.lines().all(|line| line.starts_with("- ") && line.len() > 2)
    }
    fn is_sum(text: &str) -> bool {
        let depth = text.chars().try_fold(0_i32, |depth, c| match c {
            '(' => Some(depth + 1),
            ')' if depth > 0 => Some(depth - 1),
            ')' => None,
            _ => Some(depth),
        });
        depth == Some(0) && text.starts_with(|c: char| c.is_ascii_digit() || c == '(') && !text.ends_with('+')
    }
    fn is_date(text: &str) -> bool {
        let parts: Vec<&str> = text.split('-').collect();
        parts.len() == 3 && parts[0].len() == 4 && parts[1..].iter().all(|part| part.len() == 2)
    }
    fn is_list_of_words(text: &str) -> bool {
        text.split(", ").all(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase()))
    }
    let checks: [Check; 5] = [
        (Language::Regex, "[0-9]{4}-[01][0-9]-[0-3][0-9]", is_date),
        (Language::Regex, "(yes|no|perhaps)", |text| ["yes", "no", "perhaps"].contains(&text)),
        (Language::Gbnf, LIST, is_list),
        (Language::Gbnf, SUM, is_sum),
        (Language::Lark, "start: WORD (\", \" WORD)*\nWORD: /[a-z]+/\n", is_list_of_words),
    ];
    let mut model = model();
    for (language, text, is_right) in checks {
        let grammar = model.read(language, text);
        let fewest = grammar.clone().fewest_tokens();
        for (seed, most) in [fewest, fewest + 1, fewest + 3, fewest + 20].into_iter().enumerate() {
            let ids = model.answer(&grammar, wild(seed as u64), most);
            let said = model.text(&ids);
            assert!(is_right(&said), "{language:?}, of {most} tokens: {said:?}");
        }
    }
}

#[test]
fn mistakes_are_named_with_their_place() {
    let model = model();
    let complaint = |language, text: &str| match model.grammars.read(language, text) {
        Ok(_) => panic!("{text} has a mistake"),
        Err(error) => error.to_string(),
    };
    let cases = [
        (Language::JsonSchema, "{\n  \"type\": object\n}", "line 2, column 11"),
        (Language::JsonSchema, r#"{"type": "string", "minLength": 5, "maxLength": 3}"#, "cannot be used"),
        (Language::JsonSchema, r#"{"type": "integer", "minimum": 5, "maximum": 3}"#, "cannot be used"),
        (Language::JsonSchema, r#"{"type": "nonsense"}"#, "cannot be used"),
        (Language::JsonSchema, r#"{"enum": []}"#, "cannot be used"),
        (Language::Regex, "a(b", "line 1, column 2: unclosed group"),
        (Language::Regex, "a\n[z-a]", "line 2, column 2"),
        (Language::Regex, "(?=a)a", "line 1, column 1"),
        (Language::Lark, "start: \"a\" b\nb: (\"c\"\n", "line 2, column 8"),
        (Language::Lark, "start: \"a\" nothing\n", "line 1, column"),
        (Language::Gbnf, "root ::= \"a\" b\n", "line 1, column 14: there is no rule 'b'"),
        (Language::Gbnf, "root ::= \"a\"\nb = \"c\"\n", "line 2, column 3: there is '=' in place of '::='"),
        (Language::Gbnf, "root ::= [a", "line 1, column 10: this class of characters is never closed"),
        (Language::Gbnf, "root ::= (\"a\"\n| \"b\"\n", "line 1, column 10: this parenthesis is never closed"),
        (Language::Gbnf, "yes ::= \"a\"", "there is no rule 'root'"),
        (Language::Gbnf, "root ::= root \"a\"", "no text"),
    ];
    for (language, text, part) in cases {
        let said = complaint(language, text);
        println!("{said}");
        assert!(said.contains(part) && !said.contains('\n'), "{text:?}: {said}");
    }
}

/// What the program says with the default model and these arguments: its exit code, stdout, and stderr.
fn program(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = common::stonechat();
    command.arg("run").arg("-m").arg(common::smollm2()).args(["-c", "256"]).args(arguments);
    let output = command.arg("Invent a person.").output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8").trim_end_matches('\n').to_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_program_answers_as_it_is_told_to_and_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    };
    let schema = r#"{"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "maxLength": 9}}}"#;
    let path = file("person.json", schema);
    for arguments in [["-j", schema], ["--json-schema", &path], ["--json-schema-file", &path]] {
        let (code, out, err) = program(&[&arguments[..], &["-n", "12", "--temp", "1", "--json"]].concat());
        assert_eq!(code, Some(0), "{err}");
        let report: Value = serde_json::from_str(&out).expect("a report");
        assert_eq!(report["stop"], "end", "{report}");
        let answer: Value = serde_json::from_str(report["text"].as_str().expect("text")).expect("JSON");
        assert!(answer["name"].is_string(), "{answer}");
    }
    let gbnf = file("yes.gbnf", "root ::= \"yes\" | \"no\"\n");
    let lark = file("yes.lark", "start: \"yes\" | \"no\"\n");
    for arguments in
        [["--regex", "yes|no"], ["--grammar", &gbnf], ["--grammar-file", &gbnf], ["--lark", &lark]]
    {
        let (code, out, err) = program(&arguments);
        assert_eq!(code, Some(0), "{err}");
        assert!(["yes", "no"].contains(&&out[..]), "{arguments:?}: {out}");
    }

    let (code, out, err) = program(&["-j", schema, "-n", "2"]);
    assert_eq!((code, &out[..]), (Some(1), ""), "{err}");
    assert!(err.contains("tokens, but there is room for 2; allow "), "{err}");
    let broken = file("broken.gbnf", "root ::= \"yes\"\n  | oh-no\n");
    let (code, _, err) = program(&["--grammar", &broken]);
    assert_eq!(code, Some(1), "{err}");
    assert!(
        err.contains(
            "broken.gbnf: the GBNF grammar has a mistake at line 2, column 5: there is no rule 'oh-no'"
        ),
        "{err}"
    );
    let (code, _, err) = program(&["--regex", "a", "--lark", &lark]);
    assert_eq!(code, Some(2), "{err}");
    let (code, _, err) = program(&["-j", &format!("{path}.gone")]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("person.json.gone") && err.lines().count() == 1, "{err}");
}

#[cfg(feature = "chat")]
#[test]
fn every_answer_of_a_conversation_is_held_to_the_grammar() {
    let flags = ["-c", "160", "--regex", "[A-Z][a-z]{2,8}, [0-9]{1,3}"];
    let answers = talk(&flags, b"Who are you, and how old?\nAnd your brother?\nAnd your sister?\n");
    assert_eq!(answers.len(), 3, "{answers:?}");
    for answer in answers {
        let (name, age) = answer.split_once(", ").expect("a comma");
        assert!(
            (3..=9).contains(&name.len()) && name.starts_with(|c: char| c.is_ascii_uppercase()),
            "{answer}"
        );
        assert!(age.parse::<u32>().is_ok_and(|age| age < 1000), "{answer}");
    }
}

/// A conversation with these flags, of these messages; the answers.
#[cfg(feature = "chat")]
fn talk(flags: &[&str], messages: &[u8]) -> Vec<String> {
    use std::io::Write;
    use std::process::Stdio;

    let mut command = common::stonechat();
    command.args(["chat", "--prompt-cache", "0", "-m"]).arg(common::smollm2()).args(flags);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(messages).expect("it listens");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

/// What the shortest answer takes finds room, though it is more than answers are given else.
#[cfg(feature = "chat")]
#[test]
fn turns_give_way_for_all_that_a_grammar_asks_for() {
    let line =
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen ";
    let whole = format!("({line}){{5}}");
    let answers = talk(&["-c", "192", "--regex", &whole], b"Count.\nAgain.\nOnce more.\n");
    assert_eq!(answers, [line.repeat(5), line.repeat(5), line.repeat(5)]);
}

/// A thought does not take the room of the answer that was promised, and in the answer nothing is taken for a thought.
#[test]
fn an_answer_follows_a_thought_however_few_tokens_there_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let template = folder.path().join("thinks.jinja");
    let write = |text: &str| std::fs::write(&template, text).expect("a file");
    let template = template.to_str().expect("UTF-8");
    let run = |arguments: &[&str]| program(&[&["--chat-template", template][..], arguments].concat());
    write("{{ messages[0].content }}\n<think>\n");
    for think in [&[][..], &["--think", "9"], &["--think", "200"]] {
        let (code, out, err) = run(&[&["--regex", "[a-z]{3}, [0-9]{2}", "-n", "24"], think].concat());
        assert_eq!(code, Some(0), "{err}");
        let out = out.trim();
        assert!(out.len() == 7 && out.contains(", "), "{think:?}: {out}");
    }
    let (code, out, err) = run(&["--regex", "[a-z]{3}, [0-9]{2}", "-n", "6"]);
    assert_eq!((code, &out[..]), (Some(1), ""), "{err}");
    assert!(err.contains("but there is room for 6"), "{err}");
    // The template knows thoughts, and begins none.
    write("{{ messages[0].content }}{# <think> #}");
    let (code, out, err) = run(&["--regex", "<think>yes"]);
    assert_eq!((code, out.trim()), (Some(0), "<think>yes"), "{err}");
}
