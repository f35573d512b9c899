//! One prompt, and the story that follows.
//!
//! In: a line, and a session that forgets what it knew. Out: text through the port as it comes, then a line with the hash
//! of the logits after the prompt and the ticks of a token.

use core::ops::ControlFlow;

use embedded_io::Write;
use sha2::{Digest, Sha256};
use stonechat_core::vocabulary::{Encode, Utf8Stream};
use stonechat_core::{Sampler, Session};

use crate::{Board, Error, MOST_BYTES, say};

/// Tokens of a prompt and of what follows, at most: penalties look back no further.
const MOST_TOKENS: usize = 1024;
/// The longest text of a token that can be shown.
const MOST_PIECE: usize = 64;
/// Words of scratch that a line may take to be encoded.
const SCRATCH: usize = 7 * (MOST_BYTES + 1);

/// A story in the making.
pub struct Story<'b, 's, 'a> {
    pub board: &'b Board<'b>,
    /// Its tokens, at most.
    pub most: usize,
    pub session: &'s mut Session<'a>,
}

impl Story<'_, '_, '_> {
    /// Tells it. Only a port that fails is an error: all else is said through it.
    pub fn tell<P: Write>(mut self, prompt: &[u8], port: &mut P) -> Result<(), Error<P::Error>> {
        match self.tell_or_fail(prompt, port) {
            Err(Error::Port(error)) => Err(Error::Port(error)),
            Err(error) => say(port, format_args!("\n# {error}\n")),
            Ok(()) => Ok(()),
        }
    }

    fn tell_or_fail<P: Write>(&mut self, prompt: &[u8], port: &mut P) -> Result<(), Error<P::Error>> {
        let board = self.board;
        let sampler = Sampler::new(board.sampling)?;
        let mut tokens = [0; MOST_TOKENS];
        let mut len = self.encode(prompt, &mut tokens)?;
        let prompt_len = len;
        self.session.forget();
        let start = (board.clock.ticks)();
        self.session.feed(&tokens[..len], board.workers)?;
        let read = (board.clock.ticks)().wrapping_sub(start);
        let mut hash = Sha256::new();
        self.session.logits().iter().for_each(|logit| hash.update(logit.to_le_bytes()));
        let hash: [u8; 32] = hash.finalize().into();

        port.write_all(prompt).map_err(Error::Port)?;
        let (mut stream, mut write) = (Utf8Stream::new(), 0u64);
        let room = self.session.context().min(MOST_TOKENS) - len;
        for _ in 0..self.most.min(room) {
            let token = self.session.pick(&sampler, &tokens[..len]);
            if self.session.vocabulary().is_end_of_generation(token) {
                break;
            }
            let mut piece = [0; MOST_PIECE];
            let piece = self
                .session
                .vocabulary()
                .piece(token, false, &mut piece)
                .map_err(stonechat_core::Error::from)?;
            let mut said = Ok(());
            stream.push(piece, &mut |text| said = say(port, format_args!("{text}")));
            said?;
            tokens[len] = token;
            len += 1;
            let start = (board.clock.ticks)();
            self.session.feed(&[token], board.workers)?;
            write += u64::from((board.clock.ticks)().wrapping_sub(start));
        }
        let mut said = Ok(());
        stream.finish(&mut |text| said = say(port, format_args!("{text}")));
        said?;
        say(port, format_args!("\n# logits "))?;
        hash.iter().try_for_each(|byte| say(port, format_args!("{byte:02x}")))?;
        let written = len - prompt_len;
        say(
            port,
            format_args!(
                "\n# {prompt_len} tokens read in {read} ticks, {written} written in {write}, of {} a second\n",
                board.clock.hertz
            ),
        )
    }

    /// The tokens of a prompt, with the BOS that the file asks for. Returns how many there are.
    fn encode(&self, prompt: &[u8], tokens: &mut [u32]) -> Result<usize, stonechat_core::Error> {
        let vocabulary = self.session.vocabulary();
        let options = Encode { bos: vocabulary.add_bos(), special: false };
        let (mut scratch, mut len) = ([0; SCRATCH], 0);
        vocabulary.encode(prompt, options, &mut scratch, &mut |token| match tokens.get_mut(len) {
            Some(place) => {
                *place = token;
                len += 1;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        })?;
        Ok(len)
    }
}
