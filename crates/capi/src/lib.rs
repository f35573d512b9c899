//! Conversations with a model, for programs in C: a shared and a static library beside `include/stonechat.h`.
//!
//! In: paths, texts and a function that is called with each piece of an answer. Out: those pieces, and why the answer ended.
//! This is the [`Chat`] of the runtime and nothing more; the header is made from this file by
//! cbindgen, and a test compares them. Errors are told as in errno's manner: a function says that it failed, and
//! [`stonechat_last_error`] tells the calling thread why, in one sentence.
//!
//! Here pointers come from outside, so that this is one of the few places with `unsafe`: each function says what its
//! caller promises, which is what any C library asks for. Nothing unwinds into C.

mod borrow;
mod error;

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;
use std::ptr;

use stonechat_core::{Sampler, Sampling};
use stonechat_runtime::chat::{ChatOptions, Ending, Overflow, Piece};
use stonechat_runtime::engine::{Options, Threads};
use stonechat_runtime::{Chat, Engine, Generator};

use borrow::{mutable, shared, text};
pub use error::stonechat_last_error;
use error::{Failure, guarded};

/// A conversation. Made by `stonechat_open`, ended by `stonechat_close`; used by one thread at a time.
#[allow(non_camel_case_types, reason = "the name that C sees")]
pub struct stonechat_chat(Chat<'static>);

// One thread at a time, but not always the same.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Chat<'static>>();
};

/// What gives way when the context is full.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(non_camel_case_types, reason = "the name that C sees")]
pub enum stonechat_overflow {
    /// The oldest turns, whole; the system prompt stays.
    STONECHAT_SHIFT,
    /// The oldest turns, of which the model writes a summary first.
    STONECHAT_SUMMARISE,
    /// Nothing: the answer ends, and a message that does not fit is refused.
    STONECHAT_STOP,
}

/// How a conversation is to be held. `stonechat_default_options` fills it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types, reason = "the name that C sees")]
pub struct stonechat_options {
    /// Tokens of context; 0 for as many as the model takes, up to 4096.
    pub context: usize,
    /// Threads; 0 for as many as are worth having.
    pub threads: usize,
    /// Tokens of an answer at most; 0 for no limit but the context's.
    pub predict: usize,
    /// Divides logits before a token is drawn; 0 always picks the most likely token.
    pub temperature: f32,
    /// Only the k most likely tokens; 0 for all.
    pub top_k: usize,
    /// Only the most likely tokens that together reach this probability; 1 for all.
    pub top_p: f32,
    /// Only tokens at least this fraction as likely as the most likely; 0 for all.
    pub min_p: f32,
    /// Divides positive logits, and multiplies negative ones, of recent tokens; 1 for no penalty.
    pub repeat_penalty: f32,
    /// The key of the random numbers: the same seed gives the same text on every machine.
    pub seed: u64,
    /// What gives way when the context is full: a `stonechat_overflow`.
    pub overflow: c_int,
    /// What the model is told before all else, in UTF-8; NULL for nothing.
    pub system: *const c_char,
}

/// What a piece of an answer is.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(non_camel_case_types, reason = "the name that C sees")]
pub enum stonechat_piece_kind {
    /// Tokens of the prompt have been read: `done` of `total`.
    STONECHAT_READING,
    /// The context was full, and older turns give way: `done` of at most `total` tokens.
    STONECHAT_MAKING_ROOM,
    /// The next words of a thought, which comes before the answer: `text`.
    STONECHAT_THOUGHT,
    /// The next words of the answer: `text`.
    STONECHAT_TEXT,
}

/// A piece of an answer. Its text lives until the function that is given it returns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types, reason = "the name that C sees")]
pub struct stonechat_piece {
    /// Which of the fields below say something.
    pub kind: stonechat_piece_kind,
    /// UTF-8 without a zero at its end, and never half a character.
    pub text: *const c_char,
    /// The bytes of `text`.
    pub text_len: usize,
    /// Tokens read so far.
    pub done: usize,
    /// Tokens to read in all.
    pub total: usize,
}

/// Is called with each piece of an answer; returns whether more is wanted. If not, the answer ends where it stands and
/// the conversation can go on from there; before the first words of an answer, nothing was said. It must return: no
/// exception and no longjmp may leave it.
#[allow(non_camel_case_types, reason = "the name that C sees")]
pub type stonechat_on_piece = Option<extern "C" fn(user: *mut c_void, piece: *const stonechat_piece) -> bool>;

/// Why an answer ended.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(non_camel_case_types, reason = "the name that C sees")]
pub enum stonechat_ending {
    /// It did not: see `stonechat_last_error`. What was said was not said.
    STONECHAT_FAILED = -1,
    /// The model said so.
    STONECHAT_END = 0,
    /// It is as long as it may be.
    STONECHAT_LENGTH,
    /// The context is full.
    STONECHAT_CONTEXT,
    /// No more was wanted.
    STONECHAT_CANCELLED,
}

/// How full the context is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types, reason = "the name that C sees")]
pub struct stonechat_context {
    /// Tokens in it.
    pub tokens: usize,
    /// Tokens that fit.
    pub context: usize,
    /// Turns that are in it.
    pub turns: usize,
    /// Turns that had to give way.
    pub dropped: usize,
}

/// The version of this library, as MAJOR.MINOR.PATCH.
#[unsafe(no_mangle)]
pub extern "C" fn stonechat_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Options with which a model answers greedily.
#[unsafe(no_mangle)]
pub extern "C" fn stonechat_default_options() -> stonechat_options {
    let Sampling { temperature, top_k, top_p, min_p, repeat_penalty, seed, .. } = Sampling::default();
    stonechat_options {
        context: 0,
        threads: 0,
        predict: 0,
        temperature,
        top_k,
        top_p,
        min_p,
        repeat_penalty,
        seed,
        overflow: stonechat_overflow::STONECHAT_SHIFT as c_int,
        system: ptr::null(),
    }
}

/// Maps the model in a file, takes all the memory that it will ever need, and begins a conversation. `options` may be NULL for
/// the defaults. NULL on an error.
///
/// # Safety
/// `path` points to text that ends with a zero; so does the system prompt of `options`, which is NULL or points to options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stonechat_open(
    path: *const c_char,
    options: *const stonechat_options,
) -> *mut stonechat_chat {
    guarded(ptr::null_mut(), || {
        // SAFETY: what the caller promises.
        let (path, options) = unsafe { (text(path, "path")?, options.as_ref()) };
        let options = options.copied().unwrap_or_else(|| stonechat_default_options());
        // SAFETY: what the caller promises.
        let system = unsafe { (!options.system.is_null()).then(|| text(options.system, "system")) };
        let system = system.transpose()?.map(str::to_owned);
        let chat = open(Path::new(path), &options, system)?;
        Ok(Box::into_raw(Box::new(stonechat_chat(chat))))
    })
}

fn open(path: &Path, options: &stonechat_options, system: Option<String>) -> Result<Chat<'static>, Failure> {
    let positive = |number: usize| (number > 0).then_some(number);
    let threads = positive(options.threads).map(|threads| Threads { token: threads, batch: threads });
    let asked = Options {
        context: positive(options.context),
        threads: threads.unwrap_or_default(),
        ..Options::default()
    };
    let sampler = Sampler::new(Sampling {
        temperature: options.temperature,
        top_k: options.top_k,
        top_p: options.top_p,
        min_p: options.min_p,
        repeat_penalty: options.repeat_penalty,
        seed: options.seed,
        ..Sampling::default()
    })?;
    // A number and no enum: what C passes may be none of these.
    let overflow = [
        (stonechat_overflow::STONECHAT_SHIFT, Overflow::Shift),
        (stonechat_overflow::STONECHAT_SUMMARISE, Overflow::Summarise),
        (stonechat_overflow::STONECHAT_STOP, Overflow::Stop),
    ];
    let (_, overflow) =
        overflow.into_iter().find(|(number, _)| *number as c_int == options.overflow).ok_or_else(|| {
            Failure::new(format!("the option 'overflow' is {}, which is none", options.overflow))
        })?;
    let chat = ChatOptions { system, overflow, predict: positive(options.predict), ..ChatOptions::default() };
    Ok(Chat::new(Engine::load(path, &asked)?, Generator::new(), sampler, chat)?)
}

/// Says something. `on_piece` (which may be NULL) is called with each piece of the answer, and with `user`.
///
/// # Safety
/// `chat` comes from `stonechat_open` and is used by nobody else meanwhile, not even by `on_piece`; `said` points to text that ends
/// with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stonechat_say(
    chat: *mut stonechat_chat,
    said: *const c_char,
    on_piece: stonechat_on_piece,
    user: *mut c_void,
) -> stonechat_ending {
    guarded(stonechat_ending::STONECHAT_FAILED, || {
        // SAFETY: what the caller promises.
        let (chat, said) = unsafe { (mutable(chat, "chat")?, text(said, "said")?) };
        let mut answer = chat.0.say(said);
        for piece in answer.by_ref() {
            let piece = piece?;
            if on_piece.is_some_and(|on_piece| !hand_out(&piece, on_piece, user)) {
                return Ok(stonechat_ending::STONECHAT_CANCELLED);
            }
        }
        Ok(match answer.ending() {
            Some(Ending::Length) => stonechat_ending::STONECHAT_LENGTH,
            Some(Ending::Context) => stonechat_ending::STONECHAT_CONTEXT,
            _ => stonechat_ending::STONECHAT_END,
        })
    })
}

/// Hands a piece to C; whether more is wanted.
fn hand_out(
    piece: &Piece,
    on_piece: extern "C" fn(*mut c_void, *const stonechat_piece) -> bool,
    user: *mut c_void,
) -> bool {
    let news = |kind, done, total| stonechat_piece { kind, text: ptr::null(), text_len: 0, done, total };
    let words = |kind, text: &String| stonechat_piece {
        kind,
        text: text.as_ptr().cast(),
        text_len: text.len(),
        done: 0,
        total: 0,
    };
    let piece = match piece {
        Piece::Reading { done, total } => news(stonechat_piece_kind::STONECHAT_READING, *done, *total),
        Piece::MakingRoom { done, total } => news(stonechat_piece_kind::STONECHAT_MAKING_ROOM, *done, *total),
        Piece::Thought(text) => words(stonechat_piece_kind::STONECHAT_THOUGHT, text),
        Piece::Text(text) => words(stonechat_piece_kind::STONECHAT_TEXT, text),
        // Nobody has told the model of tools.
        Piece::Call(_) => return true,
    };
    on_piece(user, &raw const piece)
}

/// Takes back the last thing said and its answer. Whether there was one.
///
/// # Safety
/// `chat` comes from `stonechat_open` and is used by nobody else meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stonechat_undo(chat: *mut stonechat_chat) -> bool {
    // SAFETY: what the caller promises.
    guarded(false, || Ok(unsafe { mutable(chat, "chat")? }.0.undo()))
}

/// Forgets all turns; the system prompt stays.
///
/// # Safety
/// `chat` comes from `stonechat_open` and is used by nobody else meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stonechat_clear(chat: *mut stonechat_chat) {
    guarded((), || {
        // SAFETY: what the caller promises.
        unsafe { mutable(chat, "chat")? }.0.clear();
        Ok(())
    });
}

/// Saves the conversation and all that has been computed of it, whole or not at all, even if the power fails. Whether it
/// is saved.
///
/// # Safety
/// `chat` comes from `stonechat_open` and is used by nobody else meanwhile; `path` points to text that ends with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stonechat_save(chat: *mut stonechat_chat, path: *const c_char) -> bool {
    guarded(false, || {
        // SAFETY: what the caller promises.
        let (chat, path) = unsafe { (mutable(chat, "chat")?, text(path, "path")?) };
        chat.0.save(Path::new(path))?;
        Ok(true)
    })
}

/// Takes up a conversation that was saved with the same model, in place of this one. Whether it has; if not, this one goes on.
///
/// # Safety
/// `chat` comes from `stonechat_open` and is used by nobody else meanwhile; `path` points to text that ends with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stonechat_load(chat: *mut stonechat_chat, path: *const c_char) -> bool {
    guarded(false, || {
        // SAFETY: what the caller promises.
        let (chat, path) = unsafe { (mutable(chat, "chat")?, text(path, "path")?) };
        chat.0.load(Path::new(path))?;
        Ok(true)
    })
}

/// How full the context is.
///
/// # Safety
/// `chat` comes from `stonechat_open` and is changed by nobody meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stonechat_used(chat: *const stonechat_chat) -> stonechat_context {
    let nothing = stonechat_context { tokens: 0, context: 0, turns: 0, dropped: 0 };
    guarded(nothing, || {
        // SAFETY: what the caller promises.
        let used = unsafe { shared(chat, "chat")? }.0.context();
        let stonechat_runtime::chat::Use { tokens, context, turns, dropped } = used;
        Ok(stonechat_context { tokens, context, turns, dropped })
    })
}

/// Ends a conversation and gives its memory back. NULL is no conversation and does nothing.
///
/// # Safety
/// `chat` is NULL or comes from `stonechat_open`, and is never used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stonechat_close(chat: *mut stonechat_chat) {
    guarded((), || {
        if !chat.is_null() {
            // SAFETY: what the caller promises; the box was made by `stonechat_open`.
            drop(unsafe { Box::from_raw(chat) });
        }
        Ok(())
    });
}
