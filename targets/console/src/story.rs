//! One prompt and what follows it, step by step, so that whoever asks can do other things between two steps.
//!
//! In: a prompt, and a session that forgets what it knew. Then [`Story::read`] until [`Story::is_read`], and
//! [`Story::pick`], [`Story::say`], [`Story::feed`] until nothing more is picked. Out: text.
//!
//! A session is passed to each step, and not kept: a story can lie in a static, or in something that has the session, too.

use core::ops::ControlFlow;

use stonechat_core::vocabulary::{Encode, Utf8Stream};
use stonechat_core::{Error, Sampler, Sampling, Session};
use stonechat_kernels::Workers;

/// Words of scratch in which a byte is encoded.
const WORDS_PER_BYTE: usize = 7;
/// The longest text of a token that can be said.
const MOST_PIECE: usize = 256;

/// A prompt: what was asked, and what a chat template writes around it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prompt<'p> {
    /// What stands before it. Where anything stands around a prompt, control tokens count as such.
    pub before: &'p str,
    /// What was asked. It need not be UTF-8.
    pub text: &'p [u8],
    /// What stands behind it.
    pub after: &'p str,
}

/// A story in the making: `TOKENS` of prompt and answer at most, which is also how far penalties look back. A prompt has
/// `BYTES` at most.
pub struct Story<const TOKENS: usize, const BYTES: usize> {
    sampler: Sampler<'static>,
    tokens: [u32; TOKENS],
    /// Tokens of prompt and answer.
    len: usize,
    /// Tokens of the prompt.
    prompt: usize,
    /// Tokens at which the answer ends at the latest.
    end: usize,
    /// Tokens that were fed.
    fed: usize,
    stream: Utf8Stream,
}

impl<const TOKENS: usize, const BYTES: usize> Story<TOKENS, BYTES> {
    /// Of nothing yet; an error if the sampling makes no sense.
    pub fn new(sampling: Sampling) -> Result<Self, Error> {
        let sampler = Sampler::new(sampling)?;
        let (tokens, stream) = ([0; TOKENS], Utf8Stream::new());
        Ok(Self { sampler, tokens, len: 0, prompt: 0, end: 0, fed: 0, stream })
    }

    /// Begins with a prompt; what follows has `most` tokens at most.
    pub fn begin(
        &mut self,
        prompt: Prompt<'_>,
        most: usize,
        session: &mut Session<'_>,
    ) -> Result<(), BeginError> {
        let mut bytes = heapless::Vec::<u8, BYTES>::new();
        let parts = [prompt.before.as_bytes(), prompt.text, prompt.after.as_bytes()];
        if parts.iter().try_for_each(|part| bytes.extend_from_slice(part)).is_err() {
            return Err(BeginError::Long { bytes: parts.iter().map(|part| part.len()).sum(), most: BYTES });
        }
        session.forget();
        (self.len, self.fed, self.stream) = (0, 0, Utf8Stream::new());
        let count = self.encode(&bytes, !(prompt.before.is_empty() && prompt.after.is_empty()), session)?;
        let context = session.context().min(TOKENS);
        if count > context {
            // All at once, before any of it is read in vain.
            return Err(Error::ContextFull { position: 0, tokens: count, context }.into());
        }
        (self.len, self.prompt) = (count, count);
        self.end = context.min(count.saturating_add(most));
        Ok(())
    }

    /// The tokens of a prompt, with the BOS that the file asks for. Returns how many there are, which may be more than there
    /// is room for.
    fn encode(&mut self, text: &[u8], special: bool, session: &Session<'_>) -> Result<usize, Error> {
        let vocabulary = session.vocabulary();
        // A template may have written it itself.
        let bos = vocabulary.bos().and_then(|bos| vocabulary.token(bos));
        let written = special && bos.is_some_and(|bos| !bos.text.is_empty() && text.starts_with(bos.text));
        let options = Encode { bos: vocabulary.add_bos() && !written, special };
        let mut scratch = [[0; WORDS_PER_BYTE]; BYTES];
        let mut count = 0;
        vocabulary.encode(text, options, scratch.as_flattened_mut(), &mut |token| {
            if let Some(place) = self.tokens.get_mut(count) {
                *place = token;
            }
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// Reads a batch of the prompt.
    pub fn read(&mut self, session: &mut Session<'_>, workers: &dyn Workers) -> Result<(), Error> {
        let batch = &self.tokens[self.fed..self.prompt];
        let batch = &batch[..batch.len().min(session.batch())];
        session.feed(batch, workers)?;
        self.fed += batch.len();
        Ok(())
    }

    /// Whether the prompt has been read.
    pub const fn is_read(&self) -> bool {
        self.fed >= self.prompt
    }

    /// Tokens that were fed.
    pub const fn fed(&self) -> usize {
        self.fed
    }

    /// Tokens of the prompt.
    pub const fn prompt_len(&self) -> usize {
        self.prompt
    }

    /// Tokens of the answer so far.
    pub const fn written(&self) -> usize {
        self.len - self.prompt
    }

    /// Picks the token that follows, if the story does not end here.
    pub fn pick(&mut self, session: &mut Session<'_>) -> Option<u32> {
        if self.len >= self.end {
            return None;
        }
        let token = session.pick(&self.sampler, &self.tokens[..self.len]);
        if session.vocabulary().is_end_of_generation(token) {
            return None;
        }
        self.tokens[self.len] = token;
        self.len += 1;
        Some(token)
    }

    /// Hands out the text that is complete with a token. Control tokens are no text, but for those of which `counts` says so.
    pub fn say(
        &mut self,
        session: &Session<'_>,
        token: u32,
        counts: &dyn Fn(&[u8]) -> bool,
        out: &mut dyn FnMut(&str),
    ) -> Result<(), Error> {
        let (vocabulary, mut buffer) = (session.vocabulary(), [0; MOST_PIECE]);
        let mut len = vocabulary.piece(token, false, &mut buffer)?.len();
        if len == 0 {
            let piece = vocabulary.piece(token, true, &mut buffer)?;
            len = if !piece.is_empty() && counts(piece) { piece.len() } else { 0 };
        }
        self.stream.push(&buffer[..len], out);
        Ok(())
    }

    /// Feeds the token that was picked.
    pub fn feed(&mut self, session: &mut Session<'_>, workers: &dyn Workers) -> Result<(), Error> {
        session.feed(&self.tokens[self.fed..self.len], workers)?;
        self.fed = self.len;
        Ok(())
    }

    /// Hands out what was held back: nothing more comes.
    pub fn finish(&mut self, out: &mut dyn FnMut(&str)) {
        self.stream.finish(out);
    }
}

/// Why a story cannot begin.
#[derive(Clone, PartialEq, Debug)]
pub enum BeginError {
    /// The prompt, with what stands around it, has too many bytes.
    Long {
        /// Bytes.
        bytes: usize,
        /// The most.
        most: usize,
    },
    /// The model cannot take it.
    Core(Error),
}

impl From<Error> for BeginError {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

impl core::fmt::Display for BeginError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Long { bytes, most } => {
                write!(
                    f,
                    "the prompt has {bytes} bytes with what stands around it, and {most} is the most; ask shorter"
                )
            }
            Self::Core(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for BeginError {}
