//! The console on a port of bytes, with the tiny model.

use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use embedded_io::{ErrorType, Read, Write};
use sha2::{Digest, Sha256};
use stonechat_core::vocabulary::Encode;
use stonechat_core::{Limits, Model, Plan, Sampling, Session};
use stonechat_gguf::Gguf;
use stonechat_kernels::{Alone, Level, Line};

use crate::{Board, Clock, Error, serve};

static MODEL: &[u8] = include_bytes!("../../../models/tiny/tiny-Q8_0.gguf");

/// What is typed, and what was shown.
struct Port<'i> {
    input: &'i [u8],
    output: Vec<u8>,
}

impl ErrorType for Port<'_> {
    type Error = core::convert::Infallible;
}

impl Read for Port<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        let len = buffer.len().min(self.input.len());
        buffer[..len].copy_from_slice(&self.input[..len]);
        self.input = &self.input[len..];
        Ok(len)
    }
}

impl Write for Port<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        self.output.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

fn limits() -> Limits {
    Limits { context: 64, batch: 8, ..Limits::default() }
}

fn board<'a>() -> Board<'a> {
    Board {
        name: "a test",
        level: Level::REFERENCE,
        workers: &Alone,
        clock: Clock { ticks: || 7, hertz: 1000 },
        limits: limits(),
        sampling: Sampling::default(),
        most: 8,
    }
}

fn plan_bytes() -> usize {
    let gguf = Gguf::parse(MODEL).unwrap();
    Plan::new(&Model::from_gguf(&gguf).unwrap(), limits()).unwrap().bytes()
}

/// What the console shows when these bytes are typed.
fn shown(input: &[u8]) -> String {
    let mut arena = vec![Line::ZERO; plan_bytes() / Line::BYTES];
    let mut port = Port { input, output: Vec::new() };
    serve(&mut port, &board(), MODEL, bytes_of(&mut arena)).unwrap();
    String::from_utf8(port.output).expect("the console shows text")
}

fn bytes_of(lines: &mut [Line]) -> &mut [u8] {
    bytemuck::cast_slice_mut(lines)
}

/// The hash of the logits after a prompt, without the console.
fn hash_of(prompt: &[u8]) -> String {
    let gguf = Gguf::parse(MODEL).unwrap();
    let model = Model::from_gguf(&gguf).unwrap();
    let plan = Plan::new(&model, limits()).unwrap();
    let mut arena = vec![Line::ZERO; plan.bytes() / Line::BYTES];
    let mut session = Session::new(&model, &plan, bytes_of(&mut arena), Level::REFERENCE).unwrap();
    let (mut tokens, mut scratch) = (Vec::new(), vec![0; 7 * prompt.len() + 7]);
    let options = Encode { bos: true, special: false };
    let each = &mut |token| {
        tokens.push(token);
        core::ops::ControlFlow::Continue(())
    };
    session.vocabulary().encode(prompt, options, &mut scratch, each).unwrap();
    session.feed(&tokens, &Alone).unwrap();
    let mut hash = Sha256::new();
    session.logits().iter().for_each(|logit| hash.update(logit.to_le_bytes()));
    std::format!("{:x}", hash.finalize())
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

#[test]
fn each_line_becomes_a_story_with_the_hash_of_its_prompts_logits() {
    let shown = shown(b"Once upon a time\rThe dog\r\n\x04");
    for prompt in ["Once upon a time", "The dog"] {
        assert!(shown.contains(&std::format!("> {prompt}\r\n{prompt}")), "{shown}");
        assert!(shown.contains(&std::format!("# logits {}\r\n", hash_of(prompt.as_bytes()))), "{shown}");
    }
    assert_eq!(count(&shown, "# logits "), 2, "the LF after a CR is no line of its own: {shown}");
    assert!(shown.ends_with("# bye\r\n"), "{shown}");
}

#[test]
fn what_was_told_before_does_not_change_a_story() {
    let twice = shown(b"Tom had a ball\rTom had a ball\r");
    let stories: Vec<_> = twice.split("> Tom had a ball\r\n").skip(1).collect();
    let of = |story: &str| story.split("# ").next().unwrap().to_string();
    assert_eq!(of(stories[0]), of(stories[1]));
    assert!(of(stories[0]).len() > "Tom had a ball\r\n".len(), "something is told: {twice}");
}

#[test]
fn a_line_is_edited_as_at_a_terminal() {
    let edited = shown("Onceé\x7f\x08\x08e upon a timex\x08\r".as_bytes());
    assert!(edited.contains(&hash_of(b"One upon a time")), "{edited}");
    assert!(shown(b"\x08\x7f\x08A cat\r").contains(&hash_of(b"A cat")));
}

#[test]
fn garbage_is_survived() {
    let mut noise: Vec<u8> = (0..=255).filter(|byte| ![4, 8, 10, 13, 127].contains(byte)).collect();
    noise.truncate(200);
    // It may well have more tokens than the context, which is said; what comes next is answered in any case.
    noise.extend(b"\rA cat\r\x04");
    let mut port = Port { input: &noise, output: Vec::new() };
    let mut arena = vec![Line::ZERO; plan_bytes() / Line::BYTES];
    serve(&mut port, &board(), MODEL, bytes_of(&mut arena)).unwrap();
    let shown = String::from_utf8_lossy(&port.output).into_owned();
    assert!(shown.contains(&hash_of(b"A cat")), "{shown}");
}

#[test]
fn lines_that_are_too_long_are_refused_in_one_sentence() {
    let mut input = vec![b'a'; 257];
    input.extend(b"\rA cat\r");
    let shown_long = shown(&input);
    assert_eq!(count(&shown_long, "# the line is longer than 256 bytes; type a shorter beginning\r\n"), 1);
    assert!(shown_long.contains(&hash_of(b"A cat")));

    // Short enough for a line, but not for the context.
    let mut input = vec![b'~'; 100];
    input.extend(b"\rA cat\r");
    let shown_many = shown(&input);
    assert!(shown_many.contains("context"), "{shown_many}");
    assert!(shown_many.contains(&hash_of(b"A cat")));
}

#[test]
fn empty_lines_are_no_prompts() {
    let shown = shown(b"\r\n\r   \r");
    assert_eq!(count(&shown, "# logits "), 0, "{shown}");
}

#[test]
fn a_story_is_as_long_as_was_asked() {
    let shown_short = shown(b"/n 2\rA cat\r");
    assert!(shown_short.contains(" tokens read in 0 ticks, 2 written in 0,"), "{shown_short}");
    for line in ["/n", "/n many", "/x 3"] {
        let refused = shown(std::format!("{line}\rA cat\r").as_bytes());
        assert_eq!(count(&refused, "# there is no such command; /n 100 sets"), 1, "{refused}");
        assert!(refused.contains(", 8 written in 0,"), "{refused}");
    }
}

#[test]
fn an_arena_that_is_too_small_is_refused_with_the_bytes_that_lack() {
    let needed = plan_bytes();
    let mut arena = vec![Line::ZERO; needed / Line::BYTES - 1];
    let mut port = Port { input: b"", output: Vec::new() };
    let error = serve(&mut port, &board(), MODEL, bytes_of(&mut arena)).unwrap_err();
    assert!(matches!(error, Error::Arena { .. }));
    assert!(error.to_string().contains(", 64 too few; build with a shorter context"), "{error}");
}

#[test]
fn no_model_in_the_image_is_said() {
    let mut port = Port { input: b"", output: Vec::new() };
    let error = serve(&mut port, &board(), b"", &mut []).unwrap_err();
    assert!(error.to_string().starts_with("there is no model in this image; set STONECHAT_MODEL"), "{error}");
    let error = serve(&mut port, &board(), b"no model at all", &mut []).unwrap_err();
    assert!(error.to_string().starts_with("not a GGUF file"), "{error}");
}
