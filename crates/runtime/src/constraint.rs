//! What an answer must be like, as far as generating needs to know it.
//!
//! In: the tokens that were chosen. Out: the tokens that may come next, those that must, and those that complete the answer
//! soonest. `Grammar` (feature `grammar`) is the one that comes with this crate.

use std::fmt::Debug;

use crate::Error;

/// Says which tokens may follow. All it does depends on the tokens it was given alone, so that a text is the same whether
/// its tokens were guessed or computed one by one.
pub trait Constraint: Debug + Send {
    /// The tokens of the shortest answer, before any begins.
    fn fewest(&mut self) -> usize;

    /// A new answer begins, of at most `most` tokens: when a model thinks first, behind its thought.
    ///
    /// An error where no answer is so short.
    fn begin(&mut self, most: usize) -> Result<(), Error>;

    /// Chooses the next token where there is no choice, or none that leaves room to complete the answer.
    fn forced(&mut self) -> Result<Option<u32>, Error>;

    /// The tokens that may be picked, in the layout of [`Sampler::pick_among`](stonechat_core::Sampler::pick_among). Nothing
    /// where [`shortest`](Self::shortest) is all that is left.
    fn allowed(&mut self) -> Result<Option<&[u32]>, Error>;

    /// Chooses a token that was picked among those. Whether it could: one that leaves no room to complete the answer
    /// is not chosen, and no longer allowed.
    fn choose(&mut self, token: u32) -> Result<bool, Error>;

    /// Chooses the next token of the shortest completion.
    fn shortest(&mut self) -> Result<u32, Error>;

    /// How many of these could follow one after another.
    fn possible(&mut self, tokens: &[u32]) -> Result<usize, Error>;

    /// Forgets the last tokens that were chosen, so many of them.
    fn take_back(&mut self, tokens: usize);

    /// Whether the answer is complete.
    fn is_complete(&mut self) -> bool;
}
