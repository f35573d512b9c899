//! How an assistant behaves, as data.

use core::time::Duration;

use stonechat_core::Sampling;
use stonechat_kernels::Workers;

/// How an assistant behaves. The default takes prompts as they are, has no questions, and times that suit a person.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'h> {
    /// What the button asks, one after the other. With none it asks again what was asked last.
    pub questions: &'h [&'h str],
    /// What stands before a prompt, as the model's chat template writes it, control tokens included: the system's words,
    /// and the beginning of the user's turn.
    pub before: &'h str,
    /// What stands behind a prompt, up to where the model's turn begins.
    pub after: &'h str,
    /// Between which tags the model thinks, if it does.
    pub thoughts: Option<Tags<'h>>,
    /// How tokens are picked.
    pub sampling: Sampling,
    /// Tokens of an answer, thoughts included, at most.
    pub most: usize,
    /// How long a button may bounce.
    pub bounce: Duration,
    /// How long the display shows a question before the next one; zero to change only after each answer.
    pub turn: Duration,
    /// How long an answer stays on the display before a question takes its place.
    pub linger: Duration,
    /// How often button and line are looked at while nothing is done.
    pub poll: Duration,
    /// How often sensors are read.
    pub measure: Duration,
    /// How often the display is drawn at most, while text comes.
    pub draw: Duration,
    /// How long the assistant goes without a part that failed before it tries again.
    pub retry: Duration,
    /// Whether Ctrl-D on the line ends the assistant. Noise on a line may look like it: leave it off but for a terminal.
    pub quits: bool,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            questions: &[],
            before: "",
            after: "",
            thoughts: None,
            sampling: Sampling::default(),
            most: 256,
            bounce: Duration::from_millis(30),
            turn: Duration::from_secs(6),
            linger: Duration::from_mins(1),
            poll: Duration::from_millis(10),
            measure: Duration::from_millis(500),
            draw: Duration::from_millis(100),
            retry: Duration::from_secs(5),
            quits: false,
        }
    }
}

/// The tags between which a model thinks: `<think>` and `</think>`, for many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tags<'h> {
    /// Begins a thought.
    pub open: &'h str,
    /// Ends it.
    pub close: &'h str,
}

impl Tags<'_> {
    /// Whether a token is part of one of them.
    pub(crate) fn have(&self, token: &[u8]) -> bool {
        let is_part = |token| [self.open, self.close].iter().any(|tag| tag.contains(token));
        str::from_utf8(token).is_ok_and(is_part)
    }
}

/// Who computes: some boards read a prompt best with more cores than they speak with.
#[derive(Clone, Copy)]
pub struct Crew<'h> {
    /// While a prompt is read.
    pub reading: &'h dyn Workers,
    /// While an answer is made, token by token.
    pub speaking: &'h dyn Workers,
}

impl<'h> Crew<'h> {
    /// The same for both.
    pub const fn both(workers: &'h dyn Workers) -> Self {
        Self { reading: workers, speaking: workers }
    }
}
