//! `stonechat chat` as a person and a pipe use it, with the default model.
#![cfg(all(feature = "chat", unix))]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Output;
use std::thread;
use std::time::Duration;

use common::talk::{Terminal, answers, chat, said, spawn, text};

/// The numbers of the line of `/stats`: tokens of the prompt, and how many were known.
fn known(stderr: &str) -> (usize, usize) {
    let line = stderr.lines().find(|line| line.contains("tokens of prompt")).expect("statistics");
    let mut numbers = line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok());
    (numbers.next().expect("a number"), numbers.next().expect("a number"))
}

const SHORT: [&str; 4] = ["-n", "24", "--prompt-cache", "0"];

#[test]
fn a_conversation_goes_on_after_a_restart_as_if_there_had_been_none() {
    let home = tempfile::tempdir().expect("a folder");
    let session = home.path().join("a.chat");
    let session = session.to_str().expect("UTF-8");
    let sampled = [&SHORT[..], &["--temp", "0.8", "--seed", "3"]].concat();
    let (whole, _) = answers(home.path(), &sampled, "My name is Ada.\nWhat is 2 + 2?\nWho am I?\n");
    let kept = [&sampled[..], &["--session", session]].concat();
    let (first, _) = answers(home.path(), &kept, "My name is Ada.\nWhat is 2 + 2?\n");
    // Another context, and another number of threads.
    let other = [&kept[..], &["-c", "1024", "-t", "1"]].concat();
    let (second, stats) = answers(home.path(), &other, "Who am I?\n/stats\n");
    assert_eq!(format!("{first}{second}"), whole);
    let (prompt, known) = known(&stats);
    assert!(known > 60 && prompt - known < 30, "{known} of {prompt} tokens were known");
}

#[test]
fn what_a_prompt_begins_with_is_computed_once_across_restarts() {
    let home = tempfile::tempdir().expect("a folder");
    let rules: Vec<String> =
        (0..60).map(|n| format!("Rule {n}: say nothing of the number {}.", n * 17)).collect();
    let rules = rules.join(" ");
    let arguments = ["-n", "8", "--system", &rules];
    let (first, stats) = answers(home.path(), &arguments, "Hello!\n/stats\n");
    assert_eq!(known(&stats).1, 0);
    let (again, stats) = answers(home.path(), &arguments, "Hello!\n/stats\n");
    assert_eq!(again, first);
    let (prompt, found) = known(&stats);
    assert!(prompt > 800 && found == prompt - 1, "{found} of {prompt} tokens were known");
    // Another question after the same rules.
    let (_, stats) = answers(home.path(), &arguments, "What is the capital of France?\n/stats\n");
    let (prompt, found) = known(&stats);
    assert!(prompt - found < 20, "{found} of {prompt} tokens were known");
}

#[test]
fn undo_and_retry_leave_a_conversation_as_it_would_have_been() {
    let home = tempfile::tempdir().expect("a folder");
    let (plain, _) = answers(home.path(), &SHORT, "Say a colour.\nAnd a fruit?\n");
    let (undone, err) = answers(home.path(), &SHORT, "Say a colour.\nTell me a joke.\n/undo\nAnd a fruit?\n");
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (plain, undone) = (lines(&plain), lines(&undone));
    assert_eq!(plain.first(), undone.first(), "{err}");
    assert_eq!(plain.last(), undone.last());
    // Another seed, so another answer.
    let warm = [&SHORT[..], &["--temp", "1.5"]].concat();
    let (once, _) = answers(home.path(), &warm, "Tell me a story about a fox.\n");
    let (twice, _) = answers(home.path(), &warm, "Tell me a story about a fox.\n/retry\n");
    let again = twice.strip_prefix(&once).expect("the same first answer");
    assert!(!again.trim().is_empty() && again != once, "{again}");
}

#[test]
fn a_session_knows_what_was_done_to_it_and_the_command_line_its_system_prompt() {
    let home = tempfile::tempdir().expect("a folder");
    let session = home.path().join("a.chat");
    let kept = [&SHORT[..], &["--session", session.to_str().expect("UTF-8")]].concat();
    let turns = |lines: &str, more: &[&str]| {
        let (_, err) = answers(home.path(), &[&kept[..], more].concat(), lines);
        err
    };
    turns("Say a colour.\n", &["--system", "You are a cook."]);
    turns("And a fruit?\n/undo\n", &[]);
    assert!(turns("/context\n", &[]).contains("used by 2 turns"));
    assert!(turns("/system\n", &[]).contains("You are a cook."));
    assert!(turns("/system\n", &["--system", "You are a poet."]).contains("You are a poet."));
    turns("/system You are a nurse.\n", &[]);
    assert!(turns("/system\n", &[]).contains("You are a nurse."));
    turns("/clear\n", &[]);
    assert!(turns("/context\n", &[]).contains("used by 0 turns"));
}

/// Eight messages in a context that holds two.
fn long(home: &Path, overflow: &str) -> Output {
    let messages = ["lions", "tea", "Rome", "snow", "chess", "bees", "trains", "salt"];
    let messages = messages.map(|of| format!("Tell me a fact about {of}.\n")).concat();
    said(
        home,
        &["-c", "128", "-n", "24", "--overflow", overflow, "--prompt-cache", "0"],
        &(messages + "/context\n"),
    )
}

#[test]
fn a_full_context_lets_the_oldest_turns_give_way() {
    let home = tempfile::tempdir().expect("a folder");
    for overflow in ["shift", "summarise"] {
        let output = long(home.path(), overflow);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{overflow}: {err}");
        assert!(out.lines().count() >= 8, "{overflow}: {out}");
        let line = err.lines().last().expect("the use of the context");
        assert!(line.contains("of 128 tokens used") && line.contains("gave way"), "{overflow}: {line}");
        // A model whose keys stand in the wrong places repeats itself or writes noise.
        let words: Vec<&str> = out.split_whitespace().collect();
        assert!(words.len() > 80, "{overflow}: {out}");
        let letters = out.chars().filter(|c| c.is_ascii_alphanumeric() || c.is_ascii_whitespace()).count();
        assert!(letters * 10 > out.chars().count() * 8, "{overflow}: {out}");
    }
    let output = long(home.path(), "stop");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("leaves no room for an answer"), "{}", text(&output.stderr));
}

#[test]
fn a_message_that_never_fits_is_refused_and_nothing_is_lost() {
    let home = tempfile::tempdir().expect("a folder");
    let session = home.path().join("a.chat");
    let arguments = ["-c", "256", "-n", "16", "--session", session.to_str().expect("UTF-8")];
    answers(home.path(), &arguments, "Say a colour.\n");
    let before = fs::read(&session).expect("a session");
    let output = said(home.path(), &arguments, &("word ".repeat(400) + "\n"));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("context of 256"), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty(), "{:?}", text(&output.stdout));
    assert_eq!(fs::read(&session).expect("a session"), before);
}

#[test]
fn what_is_no_session_of_this_model_is_said_in_one_sentence() {
    let home = tempfile::tempdir().expect("a folder");
    let session = home.path().join("a.chat");
    let path = session.to_str().expect("UTF-8");
    let arguments = [&SHORT[..], &["--session", path]].concat();
    answers(home.path(), &arguments, "Hello.\n");
    let whole = fs::read(&session).expect("a session");
    let refused = |what: &str, arguments: &[&str]| {
        let output = said(home.path(), arguments, "Hello.\n");
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{what}: {err}");
        assert!(err.contains(what) && err.lines().count() == 1, "{what}: {err}");
    };
    refused(
        "was made with another model file, KV format or rope",
        &[&arguments[..], &["--kv", "q8_0"]].concat(),
    );
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 4;
    fs::write(&session, damaged).expect("a file");
    refused("is damaged", &arguments);
    fs::write(&session, &whole[..whole.len() / 2]).expect("a file");
    refused("is damaged", &arguments);
    fs::write(&session, "a shopping list").expect("a file");
    refused("is no session", &arguments);
    // A folder that takes no file.
    refused("cannot create a file in /proc", &[&SHORT[..], &["--session", "/proc/a.chat"]].concat());
}

/// Kills a program in the middle of what it does with its session, at ever other moments: what is there afterwards is always a
/// whole session. `STONECHAT_KILLS` says how often; the long run is `just kills`.
#[test]
fn a_killed_program_leaves_a_whole_session() {
    if common::is_emulated() {
        return;
    }
    let kills: u64 = std::env::var("STONECHAT_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(10);
    let home = tempfile::tempdir().expect("a folder");
    let session = home.path().join("a.chat");
    let arguments = ["-n", "2", "-c", "4096", "--session", session.to_str().expect("UTF-8")];
    // A prompt that makes saving take a while.
    answers(home.path(), &arguments, &format!("{}\n", "one two three ".repeat(300)));
    let turns = |home: &Path| {
        let (_, err) = answers(home, &arguments, "/context\n");
        err
    };
    for kill in 0..kills {
        let mut child = spawn(&mut chat(home.path(), &arguments));
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all("Go on.\n/undo\n".repeat(50).as_bytes()).expect("a pipe");
        // The first answer has come, so that saving has begun or will at once.
        let mut byte = [0];
        child.stdout.as_mut().expect("a pipe").read_exact(&mut byte).expect("an answer");
        thread::sleep(Duration::from_micros(kill * 7919 % 60_000));
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        assert!(turns(home.path()).contains("tokens used"), "after kill {kill}");
    }
    // What they left goes when the session is saved again.
    answers(home.path(), &arguments, "Go on.\n");
    let left = fs::read_dir(home.path()).expect("a folder").filter_map(Result::ok);
    let left: Vec<_> = left.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    assert!(left.iter().any(|name| name == "a.chat"), "{left:?}");
    assert!(!left.iter().any(|name| name.starts_with(".unfinished-a.chat")), "{left:?}");
}

#[test]
fn a_person_edits_interrupts_saves_and_comes_back() {
    if common::is_emulated() {
        return;
    }
    let home = tempfile::tempdir().expect("a folder");
    let mut terminal = Terminal::start(home.path(), "-n 400");
    let at = terminal.wait_for("> ", 0);
    // A wrong word, taken back with Ctrl-W.
    terminal.keys("Tell me a long story about a wrong\x17fox.\r");
    let at = terminal.wait_for("fox.", at);
    let at = terminal.wait_for("fox", at);
    terminal.keys("\x03");
    let at = terminal.wait_for("> ", at);
    terminal.keys("/stats\r");
    let at = terminal.wait_for(" written", at);
    // It was to be a story of 400 tokens.
    let screen = terminal.screen();
    let written =
        screen[..at].rsplit_once(" written").expect("statistics").0.rsplit_once("; ").expect("a number").1;
    assert!(written.parse::<usize>().expect("a number") < 390, "{screen:?}");
    let at = terminal.wait_for("> ", at);
    let file = home.path().join("kept.chat");
    terminal.keys(&format!("/save {}\r", file.display()));
    let at = terminal.wait_for("saved", at);
    let at = terminal.wait_for("> ", at);
    // The arrow up brings the last line back.
    terminal.keys("\x1b[A");
    terminal.wait_for("/save", at);
    terminal.keys("\x15/quit\r");
    terminal.ends();
    assert!(fs::read_to_string(home.path().join("history")).expect("a history").contains("about a fox."));

    let mut terminal = Terminal::start(home.path(), "-n 8");
    let at = terminal.wait_for("> ", 0);
    terminal.keys(&format!("/load {}\r", file.display()));
    let at = terminal.wait_for("user: Tell me a long story about a fox.", at);
    let at = terminal.wait_for("> ", at);
    terminal.keys("Thanks.\r");
    let at = terminal.wait_for("> ", at);
    terminal.keys("/stats\r");
    terminal.wait_for("tokens of prompt", at);
    terminal.keys("\x04");
    terminal.ends();
    let (prompt, known) = known(&terminal.screen().replace('\r', ""));
    assert!(prompt - known < 30, "{known} of {prompt} tokens were known");
}
