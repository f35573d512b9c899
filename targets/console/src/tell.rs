//! A story through a port, as it comes, and a line with the hash of the logits after the prompt and the ticks of a token.

use embedded_io::Write;
use sha2::{Digest, Sha256};
use stonechat_core::Session;

use crate::line::MOST_BYTES;
use crate::story::{Prompt, Story};
use crate::{Board, Error, say};

/// Tokens of a prompt and of what follows, at most: penalties look back no further.
const MOST_TOKENS: usize = 1024;

/// Tells the story of a prompt, of `most` tokens at most. Only a port that fails is an error: all else is said through it.
pub fn tell<P: Write>(
    prompt: &[u8],
    most: usize,
    board: &Board<'_>,
    session: &mut Session<'_>,
    port: &mut P,
) -> Result<(), Error<P::Error>> {
    match tell_or_fail(prompt, most, board, session, port) {
        Err(Error::Port(error)) => Err(Error::Port(error)),
        Err(error) => say(port, format_args!("\n# {error}\n")),
        Ok(()) => Ok(()),
    }
}

fn tell_or_fail<P: Write>(
    prompt: &[u8],
    most: usize,
    board: &Board<'_>,
    session: &mut Session<'_>,
    port: &mut P,
) -> Result<(), Error<P::Error>> {
    // A line, and the space that some vocabularies put before it.
    let mut story = Story::<MOST_TOKENS, { MOST_BYTES + 1 }>::new(board.sampling)?;
    story.begin(Prompt { text: prompt, ..Prompt::default() }, most, session)?;
    let start = (board.clock.ticks)();
    while !story.is_read() {
        story.read(session, board.workers)?;
    }
    let read = (board.clock.ticks)().wrapping_sub(start);
    let mut hash = Sha256::new();
    session.logits().iter().for_each(|logit| hash.update(logit.to_le_bytes()));
    let hash: [u8; 32] = hash.finalize().into();

    port.write_all(prompt).map_err(Error::Port)?;
    let mut write = 0u64;
    while let Some(token) = story.pick(session) {
        let mut said = Ok(());
        story.say(session, token, &|_| false, &mut |text| said = say(port, format_args!("{text}")))?;
        said?;
        let start = (board.clock.ticks)();
        story.feed(session, board.workers)?;
        write += u64::from((board.clock.ticks)().wrapping_sub(start));
    }
    let mut said = Ok(());
    story.finish(&mut |text| said = say(port, format_args!("{text}")));
    said?;
    say(port, format_args!("\n# logits "))?;
    hash.iter().try_for_each(|byte| say(port, format_args!("{byte:02x}")))?;
    let (prompt, written) = (story.prompt_len(), story.written());
    say(
        port,
        format_args!(
            "\n# {prompt} tokens read in {read} ticks, {written} written in {write}, of {} a second\n",
            board.clock.hertz
        ),
    )
}
