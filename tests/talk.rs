//! What a conversation promises to those who embed it, with a tiny model of random weights: its words mean nothing, but
//! the same state gives the same words, and another state others.

mod common;

use std::path::Path;

use serde_json::Value;
use stonechat_core::sampler::{Mirostat, Sampler, Sampling};
use stonechat_runtime::chat::{Answer, CallResult, ChatOptions, Ending, Overflow, Piece};
use stonechat_runtime::engine::{Options, Threads};
use stonechat_runtime::output::Durability;
use stonechat_runtime::state::{self, Keep, Kept, Key, Problem};
use stonechat_runtime::{Chat, ChatTemplate, Engine, Error, Generator};

const MODEL: &str = "models/llama_k/llama_k-Q4_0.gguf";

fn engine(context: usize) -> Engine {
    let threads = Threads { token: 1, batch: 1 };
    let options = Options { context: Some(context), batch: 64, threads, ..Options::default() };
    Engine::load(common::golden(MODEL), &options).expect("a model")
}

/// A conversation whose answers are as long as they may be.
fn chat_with(context: usize, sampling: Sampling, options: ChatOptions) -> Chat<'static> {
    let engine = engine(context);
    let ends =
        (0..engine.vocabulary().len() as u32).filter(|id| engine.vocabulary().is_end_of_generation(*id));
    let biases: Vec<_> = ends.map(|id| (id, f32::NEG_INFINITY)).collect();
    let sampler = Sampler::new(sampling).expect("a sampler").with_biases(biases.leak()).expect("biases");
    Chat::new(engine, Generator::new(), sampler, options).expect("a conversation")
}

fn chat(context: usize, options: ChatOptions) -> Chat<'static> {
    chat_with(context, Sampling::default(), options)
}

fn brief(predict: usize) -> ChatOptions {
    ChatOptions { predict: Some(predict), ..ChatOptions::default() }
}

/// The tokens of an answer and why it ended.
fn all(mut answer: Answer<'_, '_>) -> (Vec<u32>, Option<Ending>) {
    for piece in &mut answer {
        piece.expect("a piece");
    }
    (answer.tokens().to_vec(), answer.ending())
}

fn said(chat: &mut Chat<'_>, text: &str) -> Vec<u32> {
    all(chat.say(text)).0
}

const LONG: &str =
    "Of the lighthouse they said that it had been built by two brothers who never spoke a word.";

#[test]
fn nothing_is_computed_before_the_first_piece_is_asked_for() {
    let mut chat = chat(256, brief(4));
    let answer = chat.say("Hi");
    assert_eq!(answer.prompt_tokens(), (0, 0));
    drop(answer);
    assert_eq!((chat.engine().position(), chat.turns().len()), (0, 0));
}

#[test]
fn an_error_comes_as_the_first_piece_and_nothing_was_said() {
    let options = || ChatOptions { overflow: Overflow::Stop, ..brief(8) };
    let mut chat = chat(256, options());
    let first = said(&mut chat, "Hi");
    let mut answer = chat.say(LONG.repeat(8));
    assert!(matches!(answer.next(), Some(Err(Error::ContextFull { context: 256, .. }))));
    assert!(answer.next().is_none());
    drop(answer);
    assert_eq!(chat.turns().len(), 2);
    // Nor where a retry is dropped before it began: the answer that was there stays.
    let before = chat.turns().to_vec();
    drop(chat.retry().expect("something was said"));
    assert_eq!(chat.turns(), before);
    let then = said(&mut chat, "So?");
    let mut fresh = self::chat(256, options());
    assert_eq!((said(&mut fresh, "Hi"), said(&mut fresh, "So?")), (first, then));
}

#[test]
fn an_answer_that_is_dropped_before_its_first_word_was_not_asked_for() {
    let mut chat = chat(256, brief(8));
    let first = said(&mut chat, "Hi");
    let mut answer = chat.say(LONG);
    assert!(matches!(answer.next(), Some(Ok(Piece::Reading { .. }))));
    drop(answer);
    assert_eq!(chat.turns().len(), 2);
    // One that has begun stays as it is.
    let mut answer = chat.say("More");
    while !matches!(answer.next(), Some(Ok(Piece::Text(_)))) {}
    drop(answer);
    assert_eq!(chat.turns().len(), 4);
    assert!(!chat.turns()[3].content.is_empty());
    assert!(chat.undo());
    let then = said(&mut chat, "So?");
    let mut fresh = self::chat(256, brief(8));
    assert_eq!((said(&mut fresh, "Hi"), said(&mut fresh, "So?")), (first, then));
}

#[test]
fn what_is_taken_back_leaves_no_trace() {
    // The second answer is so long that the first turns give way to it.
    let options = |predict| ChatOptions { predict: Some(predict), ..ChatOptions::default() };
    let mut chat = chat(160, options(100));
    let first = said(&mut chat, "Tell me of the sea.");
    said(&mut chat, LONG);
    assert!(chat.context().dropped > 0);
    assert!(chat.undo());
    assert_eq!(chat.context().dropped, 0);
    let then = said(&mut chat, "And of the sky?");
    let mut fresh = self::chat(160, options(100));
    assert_eq!(said(&mut fresh, "Tell me of the sea."), first);
    assert_eq!(said(&mut fresh, "And of the sky?"), then);
    // Answering again begins where answering began.
    let again = all(chat.retry().expect("something was said")).0;
    assert_eq!(again, then);
}

#[test]
fn what_was_taken_back_does_not_move_to_where_it_is_said_again() {
    let mut chat = chat(512, brief(16));
    // The words would be found further down, and so would the turns after another system prompt.
    said(&mut chat, &format!("Please copy: {LONG}"));
    assert!(chat.undo());
    let then = said(&mut chat, LONG);
    assert!(chat.undo());
    chat.set_system(Some("Be brief.".into()));
    let brief_then = said(&mut chat, LONG);
    let mut fresh = self::chat(512, brief(16));
    assert_eq!(said(&mut fresh, LONG), then);
    let mut fresh = self::chat(512, ChatOptions { system: Some("Be brief.".into()), ..brief(16) });
    assert_eq!(said(&mut fresh, LONG), brief_then);
}

#[test]
fn a_long_answer_forgets_its_older_half_again_and_again() {
    let mut chat = chat(96, brief(500));
    let mut answer = chat.say("Hi");
    let mut rooms = 0;
    let mut before = false;
    for piece in &mut answer {
        let making = matches!(piece.expect("a piece"), Piece::MakingRoom { .. });
        rooms += usize::from(making && !before);
        before = making;
    }
    assert_eq!((answer.tokens().len(), answer.ending()), (500, Some(Ending::Length)));
    assert!(rooms > 5, "{rooms}");
}

#[test]
fn a_summary_that_is_interrupted_leaves_the_conversation_as_it_was() {
    let options = || ChatOptions { overflow: Overflow::Summarise, ..brief(24) };
    let fill = |chat: &mut Chat<'_>| {
        while chat.context().tokens < 330 {
            said(chat, "Go on.");
        }
    };
    let (mut chat, mut whole) = (chat(512, options()), chat(512, options()));
    fill(&mut chat);
    fill(&mut whole);
    let before = (chat.turns().to_vec(), chat.context().dropped);
    for news in [1, 3, 40] {
        let mut answer = chat.say(LONG);
        for _ in 0..news {
            assert!(matches!(answer.next(), Some(Ok(Piece::MakingRoom { .. }))));
        }
        drop(answer);
        assert_eq!((chat.turns().to_vec(), chat.context().dropped), before);
    }
    assert_eq!(said(&mut chat, LONG), said(&mut whole, LONG));
    assert!(chat.context().dropped > 0);
}

const THINKS: &str = "{% for m in messages %}[{{ m.role }}]{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}\
                      {{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]<think>\n{% endif %}";

#[test]
fn a_thought_that_is_too_long_is_closed_and_the_answer_begins() {
    for budget in [0, 6] {
        let template = Some(ChatTemplate::new(THINKS).expect("a template"));
        let mut chat = chat(512, ChatOptions { template, think: Some(budget), ..brief(40) });
        let (mut thought, mut text) = (String::new(), String::new());
        let mut answer = chat.say("Hi");
        for piece in &mut answer {
            match piece.expect("a piece") {
                Piece::Thought(part) => {
                    assert!(text.is_empty());
                    thought.push_str(&part);
                }
                Piece::Text(part) => text.push_str(&part),
                _ => (),
            }
        }
        assert!(answer.tokens().len() >= 40);
        drop(answer);
        // A vocabulary may put a space before what ends it.
        assert_eq!(thought.trim().is_empty(), budget == 0, "{thought:?}");
        assert!(!text.is_empty() && !text.contains("think"), "{text:?}");
        let turn = &chat.turns()[1];
        assert_eq!((&turn.content, &turn.reasoning), (&text, &thought));
        // The next turn's prompt holds what the template keeps of it: here all.
        said(&mut chat, "So?");
    }
}

#[test]
fn what_tools_gave_is_told_and_a_lost_answer_takes_the_question_with_it() {
    let template = Some(
        ChatTemplate::new(
            "{% for m in messages %}[{{ m.role }} {{ m.name }}]{{ m.content }}{% endfor %}[assistant]{{ tools | length }}<tool_call>",
        )
        .expect("a template"),
    );
    let tools = vec![serde_json::json!({"type": "function", "function": {"name": "clock"}})];
    let mut chat = chat(512, ChatOptions { template, tools, ..brief(8) });
    said(&mut chat, "Hi");
    said(&mut chat, "What time is it?");
    let result = || CallResult { id: "call00000".into(), name: "clock".into(), content: "12:30".into() };
    let (plain, _) = all(chat.answer_calls([result()]));
    let roles: Vec<_> = chat.turns().iter().map(|turn| turn.role.as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant", "tool", "assistant"]);
    assert_eq!(plain.len(), 8);
    drop(chat.answer_calls([result()]));
    assert_eq!(chat.turns().len(), 2);
}

#[test]
fn tools_need_a_template_that_knows_them() {
    let tools = vec![serde_json::json!({"type": "function", "function": {"name": "clock"}})];
    let sampler = Sampler::new(Sampling::default()).expect("a sampler");
    let options = ChatOptions { tools, ..ChatOptions::default() };
    let refused = Chat::new(engine(64), Generator::new(), sampler, options).expect_err("no tools");
    assert!(refused.to_string().contains("tells a model of no tools"), "{refused}");
}

#[test]
fn mirostat_goes_on_where_it_was() {
    let sampling = || Sampling {
        temperature: 1.0,
        mirostat: Some(Mirostat { tau: 3.0, eta: 0.5 }),
        seed: 5,
        ..Sampling::default()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.chat");
    let mut whole = chat_with(512, sampling(), brief(30));
    said(&mut whole, "Hi");
    whole.save(&path).expect("a session");
    let then = said(&mut whole, "And then?");
    let mut later = chat_with(512, sampling(), brief(30));
    later.load(&path).expect("a session");
    assert_eq!(said(&mut later, "And then?"), then);
    // Taking back takes the limit back, too.
    assert!(later.undo());
    assert_eq!(said(&mut later, "And then?"), then);
}

/// Writes a session whose checksums are right: that of `chat`, with other tokens and another note.
fn forge(chat: &Chat<'_>, path: &Path, position: usize, tokens: &[u32], note: &Value) {
    let session = chat.engine().session();
    let note = note.to_string();
    let keep = Keep { key: Key::of(session), position, tokens, note: note.as_bytes() };
    state::write(path, &keep, session, Durability::Cached).expect("a file");
}

#[test]
fn a_session_that_says_what_none_can_say_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.chat");
    let mut chat = chat(256, brief(8));
    said(&mut chat, "Tell me of the sea.");
    chat.save(&path).expect("a session");
    let kept = Kept::open(&path, &Key::of(chat.engine().session())).expect("a session");
    let (tokens, note): (_, Value) =
        (kept.tokens().to_vec(), serde_json::from_slice(kept.note()).expect("a note"));
    let with = |pointer: &str, value: Value| {
        let mut note = note.clone();
        *note.pointer_mut(pointer).expect(pointer) = value;
        note
    };
    let mut unknown = tokens.clone();
    unknown[3] = 512;
    let cases = [
        ("does not begin at the beginning", 16, tokens[16..].to_vec(), note.clone()),
        ("tokens that the model has not", 0, unknown, note.clone()),
        ("its turns do not fit together", 0, tokens.clone(), with("/talk/first", 3.into())),
        ("its turns do not fit together", 0, tokens.clone(), with("/talk/before/0/turns", 1.into())),
        ("its turns do not fit together", 0, tokens.clone(), with("/talk/before", Value::Array(Vec::new()))),
        ("begins beyond its end", 0, tokens.clone(), with("/shifted", 1_000_000.into())),
        ("begins beyond its end", 0, tokens.clone(), with("/begins", 1_000_000.into())),
        ("no conversation in it", 0, tokens.clone(), with("/talk/first", (-1).into())),
        ("no conversation in it", 0, tokens.clone(), Value::Null),
    ];
    for (words, position, tokens, note) in cases {
        forge(&chat, &path, position, &tokens, &note);
        let refused = chat.load(&path).expect_err(words);
        assert!(matches!(refused, Error::State { problem: Problem::Impossible(_), .. }), "{refused}");
        assert!(refused.to_string().contains(words), "{refused}");
        assert_eq!(chat.turns().len(), 2);
    }
    forge(&chat, &path, 0, &tokens, &note);
    chat.load(&path).expect("what was not changed is sound");
}
