//! Several texts in one session, and what is computed of them together.

use core::ops::Range;

use bytemuck::{Pod, Zeroable};
use stonechat_kernels::Workers;

use super::{Session, check_logits, pass};
use crate::Error;
use crate::forward::{Batch, Stretch};

/// Where a text stands.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct Sequence {
    /// The number of tokens fed.
    pub(crate) position: usize,
    /// The first row of its logits, and how many there are; those of the last token come last.
    row: usize,
    rows: usize,
}

impl Sequence {
    /// Its logits are those rows.
    pub(super) const fn find_logits(&mut self, rows: Range<usize>) {
        (self.row, self.rows) = (rows.start, rows.end - rows.start);
    }

    /// Its logits are overwritten.
    pub(super) const fn lose_logits(&mut self) {
        self.rows = 0;
    }

    /// The row of the logits that follow the token `back` places before the last.
    ///
    /// # Panics
    /// If they are not there.
    pub(super) fn row(&self, back: usize) -> usize {
        assert!(back < self.rows, "logits that are there");
        self.row + self.rows - 1 - back
    }
}

impl Session<'_> {
    /// The number of sequences.
    pub const fn sequences(&self) -> usize {
        self.sequences.len()
    }

    /// The number of the sequence at hand.
    pub const fn sequence(&self) -> usize {
        self.current
    }

    /// From here on all is about another sequence; none changes.
    ///
    /// # Panics
    /// If there is no such sequence.
    pub fn turn_to(&mut self, sequence: usize) {
        assert!(sequence < self.sequences.len(), "a sequence of the plan");
        self.current = sequence;
    }

    /// Feeds several sequences, in one batch. Each stretch gives the bits that it would give alone. Afterwards the
    /// logits of those tokens are there for which they were wanted, to be picked from sequence by sequence, and no others.
    /// Quickest is a batch that begins with the stretches of one token.
    ///
    /// On an error nobody was fed; where recurrent states had changed by then, all tokens of these sequences are
    /// forgotten. Numbers that are not finite fail all, whosever they are: fed alone, each sequence shows whether
    /// they were its own.
    ///
    /// # Panics
    /// If there is no such sequence, two stretches are of the same one, a stretch wants more logits than it has tokens, or
    /// all together have more tokens than [`Limits::batch`](crate::Limits::batch) or want more logits than
    /// [`Limits::outputs`](crate::Limits::outputs).
    pub fn feed_together(&mut self, stretches: &[Stretch<'_>], workers: &dyn Workers) -> Result<(), Error> {
        self.check_use()?;
        let (mut tokens, mut outputs) = (0, 0);
        for (i, stretch) in stretches.iter().enumerate() {
            let once = stretches[..i].iter().all(|other| other.sequence != stretch.sequence);
            assert!(once && stretch.sequence < self.sequences.len(), "each sequence once");
            self.check(stretch.sequence, stretch.tokens)?;
            assert!(stretch.outputs <= stretch.tokens.len(), "logits of tokens that there are");
            tokens += stretch.tokens.len();
            outputs += stretch.outputs;
        }
        assert!(tokens <= self.buffers.batch && outputs <= self.buffers.outputs, "a batch within the limits");
        if stretches.is_empty() {
            return Ok(());
        }
        stretches.iter().for_each(|stretch| self.begin(stretch.sequence));
        self.sequences.iter_mut().for_each(Sequence::lose_logits);
        let fed = self.compute_together(stretches, outputs, workers);
        let mut row = 0;
        for stretch in stretches {
            let sequence = &mut self.sequences[stretch.sequence];
            match fed {
                Ok(()) => {
                    sequence.position += stretch.tokens.len();
                    sequence.find_logits(row..row + stretch.outputs);
                    row += stretch.outputs;
                }
                // What the state was before is lost.
                Err(_) if !self.state.is_empty() => sequence.position = 0,
                Err(_) => {}
            }
        }
        fed
    }

    fn compute_together(
        &mut self,
        stretches: &[Stretch<'_>],
        outputs: usize,
        workers: &dyn Workers,
    ) -> Result<(), Error> {
        let batch = Batch::new(stretches, self.sequences, 0);
        let mut pass = pass!(self, batch, workers);
        pass.layers()?;
        if outputs == 0 {
            return Ok(());
        }
        pass.head(0..outputs, self.logits)?;
        let known = self.model.hyperparameters().vocabulary;
        self.logits.chunks_exact(known).take(outputs).try_for_each(check_logits)
    }

    /// Makes the sequence at hand begin as another one does, with the first `positions` of what that was fed, and forgets
    /// what it had: a prefix that both share is computed once.
    ///
    /// # Panics
    /// If there is no such sequence, it was fed fewer tokens, or a recurrent state knows more of them.
    pub fn copy_beginning(&mut self, other: usize, positions: usize) {
        let fed = self.sequences[other].position;
        assert!(positions <= fed, "positions that have been fed");
        assert!(self.state.is_empty() || positions == fed, "a recurrent state knows all tokens");
        if other == self.current {
            self.set_position(positions);
            return;
        }
        self.sequences[self.current].lose_logits();
        let heads = self.cached_heads(other).zip(self.cached_heads(self.current));
        for (from, to) in heads {
            self.cache.keys.copy([from.keys, to.keys], to.head, positions);
            self.cache.values.copy([from.values, to.values], to.head, positions);
        }
        let (from, to) = (self.state_of(other), self.state_of(self.current));
        self.state.copy_within(from, to.start);
        self.set_position(positions);
    }
}
