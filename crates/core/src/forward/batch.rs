//! What is computed together: stretches of tokens, each of one sequence.
//!
//! Matrices, norms and experts run over all tokens of a batch, whosever they are. Attention, the cache and mixers with a
//! state ask here which tokens belong together, and where they stand.

use core::ops::Range;

use crate::session::Sequence;

/// Tokens that are to follow those of a sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch<'t> {
    /// The number of the sequence.
    pub sequence: usize,
    /// The tokens.
    pub tokens: &'t [u32],
    /// Of how many of the last tokens the outputs are wanted: logits, or what an embedding is pooled from.
    pub outputs: usize,
}

/// A stretch as it lies in its batch.
pub(crate) struct Run<'t> {
    pub sequence: usize,
    /// Where its first token stands in the sequence.
    pub position: usize,
    /// Its rows among the batch's tokens.
    pub rows: Range<usize>,
    tokens: &'t [u32],
}

/// Stretches that are computed together, at most one of each sequence; or of each only the tokens whose outputs are wanted.
#[derive(Clone, Copy)]
pub(crate) struct Batch<'t> {
    stretches: &'t [Stretch<'t>],
    sequences: &'t [Sequence],
    /// How many tokens stand between those that a sequence was fed and its stretch.
    ahead: usize,
    wanted_alone: bool,
}

impl<'t> Batch<'t> {
    /// Stretches that follow what `sequences` were fed, and `ahead` tokens more.
    pub const fn new(stretches: &'t [Stretch<'t>], sequences: &'t [Sequence], ahead: usize) -> Self {
        Self { stretches, sequences, ahead, wanted_alone: false }
    }

    /// Its tokens whose outputs are wanted.
    pub const fn wanted(self) -> Self {
        Self { wanted_alone: true, ..self }
    }

    /// The stretches that have tokens here, in order.
    pub const fn runs(self) -> Runs<'t> {
        Runs { batch: self, row: 0 }
    }

    /// The number of tokens.
    pub fn tokens(self) -> usize {
        self.runs().map(|run| run.rows.len()).sum()
    }

    /// How many stretches of one token the batch begins with: so many of its first rows are one of each.
    pub fn lone(self) -> usize {
        self.runs().take_while(|run| run.rows.len() == 1).count()
    }

    /// The sequence and position of one of the [`lone`](Self::lone) tokens.
    pub fn lone_token(self, row: usize) -> (usize, usize) {
        let run = self.of(row);
        (run.sequence, run.position)
    }

    /// The token of a row, and its position.
    pub fn at(self, row: usize) -> (u32, usize) {
        let run = self.of(row);
        let i = row - run.rows.start;
        (run.tokens[i], run.position + i)
    }

    /// The rows of each stretch whose outputs are wanted, of a batch of whole stretches.
    pub fn outputs(self) -> impl Iterator<Item = Range<usize>> + use<'t> {
        let wanted = self.stretches.iter().map(|stretch| stretch.outputs);
        self.runs().zip(wanted).map(|(run, outputs)| run.rows.end - outputs..run.rows.end)
    }

    /// The run of a row.
    #[inline(never)]
    fn of(self, row: usize) -> Run<'t> {
        match self.runs().find(|run| run.rows.contains(&row)) {
            Some(run) => run,
            None => unreachable!("a row of the batch"),
        }
    }
}

/// The [runs](Batch::runs) of what is left of a batch, from some row on.
pub(crate) struct Runs<'t> {
    batch: Batch<'t>,
    row: usize,
}

impl<'t> Iterator for Runs<'t> {
    type Item = Run<'t>;

    #[inline(never)]
    fn next(&mut self) -> Option<Run<'t>> {
        let Batch { sequences, ahead, wanted_alone, .. } = self.batch;
        loop {
            let (stretch, rest) = self.batch.stretches.split_first()?;
            self.batch.stretches = rest;
            let left_out = if wanted_alone { stretch.tokens.len() - stretch.outputs } else { 0 };
            let tokens = &stretch.tokens[left_out..];
            if !tokens.is_empty() {
                let position = sequences[stretch.sequence].position + ahead + left_out;
                let rows = self.row..self.row + tokens.len();
                self.row = rows.end;
                return Some(Run { sequence: stretch.sequence, position, rows, tokens });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use bytemuck::Zeroable;

    use super::*;

    #[test]
    fn rows_belong_to_stretches_in_order() {
        let mut sequences = [Sequence::zeroed(); 4];
        for (sequence, position) in sequences.iter_mut().zip([10, 20, 30, 40]) {
            sequence.position = position;
        }
        let stretch = |sequence, tokens, outputs| Stretch { sequence, tokens, outputs };
        let stretches = [
            stretch(2, &[7][..], 1),
            stretch(0, &[8], 1),
            stretch(3, &[1, 2, 3], 0),
            stretch(1, &[4, 5, 6], 2),
        ];
        let batch = Batch::new(&stretches, &sequences, 0);
        assert_eq!((batch.tokens(), batch.lone()), (8, 2));
        assert_eq!((batch.lone_token(0), batch.lone_token(1)), ((2, 30), (0, 10)));
        let rows: Vec<_> = (0..8).map(|row| batch.at(row)).collect();
        assert_eq!(rows, [(7, 30), (8, 10), (1, 40), (2, 41), (3, 42), (4, 20), (5, 21), (6, 22)]);
        let runs: Vec<_> = batch.runs().map(|run| (run.sequence, run.position, run.rows)).collect();
        assert_eq!(runs, [(2, 30, 0..1), (0, 10, 1..2), (3, 40, 2..5), (1, 20, 5..8)]);
        assert_eq!(batch.outputs().collect::<Vec<_>>(), [0..1, 1..2, 5..5, 6..8]);
        assert_eq!(Batch::new(&stretches[2..3], &sequences, 5).at(1), (2, 46));

        let wanted = batch.wanted();
        assert_eq!((wanted.tokens(), wanted.lone(), wanted.lone_token(1)), (4, 2, (0, 10)));
        let rows: Vec<_> = (0..4).map(|row| wanted.at(row)).collect();
        assert_eq!(rows, [(7, 30), (8, 10), (5, 21), (6, 22)]);
        let runs: Vec<_> = wanted.runs().map(|run| (run.sequence, run.position, run.rows)).collect();
        assert_eq!(runs, [(2, 30, 0..1), (0, 10, 1..2), (1, 21, 2..4)]);
    }
}
