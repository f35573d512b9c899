//! The feed-forward part with experts (Shazeer et al. 2017, arXiv:1701.06538; Fedus et al. 2021, arXiv:2101.03961): a router
//! scores all of them for each token, the token meets the best few, and takes their outputs weighted.
//!
//! Routing, in f32 and in the order of ids: scores are `exp(z - max) / Σ exp(z - max)`, or a sigmoid of each z. A token
//! chooses by score plus selection bias, ties to the lower id; in files with groups only from the groups with the
//! largest sums of their two best, or, where there is no bias (as in DeepSeek-V2), with the best expert. Weights are the scores without bias (or, for softmax of the chosen, `exp(z - z of the
//! first)` over their sum), divided by their sum (at least 2^-14) where the model normalises, times the scale. The result is
//! the sum of `y·w` in the order of choice, from 0, and last the shared expert's output (times its sigmoid).
//!
//! Several tokens are sorted by expert, so that each expert's matrices are read once; one token takes all its experts'
//! matrices as one stack. A row of output does not depend on which rows are computed with it, so both give the same bits.

use stonechat_kernels::elementwise::{self, NotFinite};
use stonechat_kernels::math;
use stonechat_kernels::split::Chunks;
use stonechat_kernels::{Matrix, Scratch, matmul};

use super::feed_forward::Hidden;
use super::norm::{Arrival, Norms};
use super::rows::{Input, share_out};
use super::{Buffers, Pass, Product, few};
use crate::arch::{Gate, Score};
use crate::model::{Experts, Norm, Weight};
use crate::session::Weights;

/// The arena's regions for experts; empty in models without. k is the number of experts that a token meets.
pub(crate) struct ExpertBuffers<'a> {
    /// t x (experts + 1): what the router says, and the weight of the shared expert.
    pub scores: &'a mut [f32],
    /// t x k: the chosen experts, the best first, and their weights.
    pub ids: &'a mut [u32],
    pub weights: &'a mut [f32],
    /// t x k: which row of `out` belongs to a choice.
    pub rows: &'a mut [u32],
    /// t x k: the token of each row of `out`, expert by expert.
    pub tokens: &'a mut [u32],
    /// Rows of one expert: what enters its matrices.
    pub input: Input<'a>,
    /// (t k + t) x e: the outputs of all choices, and of the shared expert.
    pub out: &'a mut [f32],
}

/// How many experts of one token are computed as one stack of matrices.
const STACK: usize = 8;

/// The matrices of gate and up: two, or one, which holds both or is that of up alone.
const GATE_AND_UP: [Weight; 3] = [Weight::ExpertGate, Weight::ExpertUp, Weight::ExpertGateUp];

impl Pass<'_, '_> {
    /// delta[t] = Σ w y(input[t]) over the experts that token t chooses, and the shared one.
    ///
    /// Where there is a part without experts beside them, that comes first:
    /// delta[t] = norm(Σ w y(norm(x))) + norm(dense(input[t])), and the router reads another norm of the residual stream x.
    pub(super) fn experts(&mut self, layer: usize, tokens: usize) -> Result<(), NotFinite> {
        let (h, x) = (*self.model.hyperparameters(), self.model.hyperparameters().experts);
        let (e, k) = (h.embedding, x.used);
        let beside = self.weights.layer(layer).has_dense_beside_experts();
        if beside {
            self.dense_beside_experts(layer, tokens)?;
            self.norm(Arrival::Nothing, self.weights.norm(layer, Norm::Router), tokens, false)?;
        }
        self.choose(layer, tokens)?;
        if beside {
            self.norm(Arrival::Nothing, self.weights.norm(layer, Norm::Experts), tokens, false)?;
        }
        if tokens == 1 { self.chosen_by_one(layer) } else { self.chosen_by_many(layer, tokens) }?;
        if x.shared > 0 {
            self.shared_expert(layer, tokens)?;
        }

        let (norms, norm) =
            (Norms::new(self.model, self.level), self.weights.norm(layer, Norm::ExpertsOutput));
        let has_shared_router = self.weights.matrix(layer, Weight::SharedRouter).is_some();
        let width = x.count + usize::from(has_shared_router);
        let b = &mut *self.buffers;
        let experts = &b.experts;
        let parts = Chunks::new(&mut b.delta[..tokens * e], e);
        let mut scratch = Scratch::new(b.scratch, b.scratch_size);
        share_out(few(tokens, self.workers), parts, &mut scratch, |t, delta, lines| {
            delta.fill(0.0);
            let row = |row: usize| &experts.out[row * e..][..e];
            for choice in t * k..(t + 1) * k {
                elementwise::add_scaled(delta, row(experts.rows[choice] as usize), experts.weights[choice]);
            }
            if x.shared > 0 {
                let weight = if has_shared_router { experts.scores[t * width + x.count] } else { 1.0 };
                elementwise::add_scaled(delta, row(tokens * k + t), weight);
            }
            if let Some(norm) = &norm {
                norms.in_place(delta, norm, lines)?;
                elementwise::add(delta, row(tokens * k + t));
            }
            Ok(())
        })
    }

    /// The outputs of the part without experts, normalised, to where those of a shared expert would be.
    fn dense_beside_experts(&mut self, layer: usize, tokens: usize) -> Result<(), NotFinite> {
        self.feed_forward(layer, tokens)?;
        let (e, used) = (self.model.hyperparameters().embedding, self.model.hyperparameters().experts.used);
        let (norms, norm) = (Norms::new(self.model, self.level), self.weights.norm(layer, Norm::DenseOutput));
        let Buffers { delta, experts, scratch, scratch_size, .. } = &mut *self.buffers;
        let mut scratch = Scratch::new(scratch, *scratch_size);
        let parts = Chunks::new(&mut experts.out[tokens * used * e..][..tokens * e], e);
        share_out(few(tokens, self.workers), parts, &mut scratch, |t, out, _| {
            let delta = &delta[t * e..][..e];
            if let Some(norm) = &norm {
                return norms.apply(delta, norm, out);
            }
            out.copy_from_slice(delta);
            Ok(())
        })
    }

    /// The experts that each token chooses, and their weights.
    fn choose(&mut self, layer: usize, tokens: usize) -> Result<(), NotFinite> {
        let (h, x) = (*self.model.hyperparameters(), self.model.hyperparameters().experts);
        let (e, k) = (h.embedding, x.used);
        let product = Product { level: self.level, workers: self.workers, weights: self.weights, layer };
        let Buffers { input, experts, scratch, scratch_size, .. } = &mut *self.buffers;
        let mut scratch = Scratch::new(scratch, *scratch_size);
        let routers = [Weight::Router, Weight::SharedRouter];
        let width = x.count + usize::from(self.weights.matrix(layer, Weight::SharedRouter).is_some());
        product.of(&routers, input, (tokens, e), experts.scores, &mut scratch);
        let (bias, scale) = (self.weights.selection_bias(layer), self.weights.expert_scale(layer));
        let parts = (
            Chunks::new(&mut experts.scores[..tokens * width], width),
            Chunks::new(&mut experts.ids[..tokens * k], k),
            Chunks::new(&mut experts.weights[..tokens * k], k),
        );
        share_out(few(tokens, self.workers), parts, &mut scratch, |_, (scores, ids, weights), _| {
            let (scores, shared) = scores.split_at_mut(x.count);
            shared.iter_mut().for_each(|weight| *weight = math::sigmoid(*weight));
            route(&x, scores, bias, ids, weights)?;
            if let Some(scale) = scale {
                weights.iter_mut().zip(&*ids).for_each(|(weight, id)| *weight *= scale[*id as usize]);
            }
            Ok(())
        })
    }

    /// The hidden vectors of experts.
    fn hidden(&self, layer: usize, len: usize) -> Hidden {
        let activation = self.weights.activation(layer, self.model.spec().activation);
        Hidden { level: self.level, activation, has_gate: self.model.spec().gate != Gate::None, len }
    }

    /// The experts of the only token, all at once.
    fn chosen_by_one(&mut self, layer: usize) -> Result<(), NotFinite> {
        let (h, x) = (*self.model.hyperparameters(), self.model.hyperparameters().experts);
        let (e, f) = (h.embedding, x.feed_forward);
        let (weights, level, workers) = (self.weights, self.level, self.workers);
        let hidden = self.hidden(layer, f);
        let Buffers { input, experts, wide, scratch, scratch_size, .. } = &mut *self.buffers;
        let mut scratch = Scratch::new(scratch, *scratch_size);
        let ids = &experts.ids[..x.used];
        let row = hidden.row();
        for (ids, wide) in ids.chunks(STACK).zip(wide.chunks_mut(STACK * row)) {
            let mut stack: heapless::Vec<Matrix<'_>, { 2 * STACK }> = heapless::Vec::new();
            for id in ids {
                stack
                    .extend(GATE_AND_UP.iter().filter_map(|part| weights.expert(layer, *part, *id, x.count)));
            }
            matmul(level, workers, &stack, &input.read(1, e), &mut wide[..ids.len() * row], &mut scratch);
        }
        for (choice, id) in ids.iter().enumerate() {
            add_biases(&weights, layer, &GATE_AND_UP, *id, &mut wide[choice * row..][..row], &x);
        }
        hidden.enter(x.used, wide, &mut experts.input, workers, &mut scratch, false)?;
        for (choice, id) in ids.iter().enumerate() {
            let down = weights.expert(layer, Weight::ExpertDown, *id, x.count);
            let (row, out) = (experts.input.rows(choice..choice + 1, f), &mut experts.out[choice * e..][..e]);
            matmul(level, workers, down.as_slice(), &row, out, &mut scratch);
            add_biases(&weights, layer, &[Weight::ExpertDown], *id, out, &x);
            experts.rows[choice] = choice as u32;
        }
        Ok(())
    }

    /// The experts of several tokens, one after another, each with the tokens that chose it.
    fn chosen_by_many(&mut self, layer: usize, tokens: usize) -> Result<(), NotFinite> {
        let (h, x) = (*self.model.hyperparameters(), self.model.hyperparameters().experts);
        let (e, f) = (h.embedding, x.feed_forward);
        let (weights, level, workers) = (self.weights, self.level, self.workers);
        let hidden = self.hidden(layer, f);
        let Buffers { input, experts, wide, scratch, scratch_size, .. } = &mut *self.buffers;
        let mut scratch = Scratch::new(scratch, *scratch_size);
        let ids = &experts.ids[..tokens * x.used];
        let mut next = 0;
        for id in 0..x.count as u32 {
            let first = next;
            for (choice, _) in ids.iter().enumerate().filter(|(_, chosen)| **chosen == id) {
                experts.rows[choice] = next as u32;
                experts.tokens[next] = (choice / x.used) as u32;
                next += 1;
            }
            let count = next - first;
            if count == 0 {
                continue;
            }
            let chosen = &experts.tokens[first..next];
            experts.input.copy_rows(input, chosen, e, workers, &mut scratch)?;
            let expert = |weight: &Weight| weights.expert(layer, *weight, id, x.count);
            let stack: heapless::Vec<Matrix<'_>, 2> = GATE_AND_UP.iter().filter_map(expert).collect();
            let wide = &mut wide[..count * hidden.row()];
            matmul(level, workers, &stack, &experts.input.read(count, e), wide, &mut scratch);
            for row in wide.chunks_exact_mut(hidden.row()) {
                add_biases(&weights, layer, &GATE_AND_UP, id, row, &x);
            }
            hidden.enter(count, wide, &mut experts.input, workers, &mut scratch, false)?;
            let out = &mut experts.out[first * e..next * e];
            let down = expert(&Weight::ExpertDown);
            matmul(level, workers, down.as_slice(), &experts.input.read(count, f), out, &mut scratch);
            for row in out.chunks_exact_mut(e) {
                add_biases(&weights, layer, &[Weight::ExpertDown], id, row, &x);
            }
        }
        Ok(())
    }

    /// The expert that all tokens meet.
    fn shared_expert(&mut self, layer: usize, tokens: usize) -> Result<(), NotFinite> {
        let (h, x) = (*self.model.hyperparameters(), self.model.hyperparameters().experts);
        let product = Product { level: self.level, workers: self.workers, weights: self.weights, layer };
        let hidden = self.hidden(layer, x.shared);
        let Buffers { input, experts, wide, scratch, scratch_size, .. } = &mut *self.buffers;
        let mut scratch = Scratch::new(scratch, *scratch_size);
        let e = h.embedding;
        product.of(&[Weight::SharedGate, Weight::SharedUp], input, (tokens, e), wide, &mut scratch);
        hidden.enter(tokens, wide, &mut experts.input, self.workers, &mut scratch, false)?;
        let out = &mut experts.out[tokens * x.used * e..];
        product.of(&[Weight::SharedDown], &experts.input, (tokens, x.shared), out, &mut scratch);
        Ok(())
    }
}

/// Adds an expert's biases to the row that its matrices of this stack gave.
#[inline(never)]
fn add_biases(
    weights: &Weights<'_>,
    layer: usize,
    stack: &[Weight],
    id: u32,
    mut row: &mut [f32],
    x: &Experts,
) {
    for weight in stack {
        let rows = weights.matrix(layer, *weight).map_or(0, |all| all.rows() / x.count);
        let (part, rest) = row.split_at_mut(rows);
        if let Some(bias) = weights.bias(layer, *weight) {
            elementwise::add(part, &bias[id as usize * rows..][..rows]);
        }
        row = rest;
    }
}

/// Chooses experts by what the router says of them, and weighs them. See the [module](self).
#[inline(never)]
fn route(
    x: &Experts,
    scores: &mut [f32],
    bias: Option<&[f32]>,
    ids: &mut [u32],
    weights: &mut [f32],
) -> Result<(), NotFinite> {
    if !scores.iter().all(|score| score.is_finite()) {
        return Err(NotFinite);
    }
    match x.score {
        Score::Softmax => softmax(scores),
        Score::Sigmoid => scores.iter_mut().for_each(|score| *score = math::sigmoid(*score)),
        Score::SoftmaxOfChosen => {}
    }
    let worth = |id: usize| scores[id] + bias.map_or(0.0, |bias| bias[id]);
    let size = x.count / x.groups;
    // What groups are chosen by.
    let group_worth = |group: usize| {
        let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
        for id in group * size..(group + 1) * size {
            let worth = worth(id);
            (first, second) = if worth > first { (worth, first) } else { (first, second.max(worth)) };
        }
        if size > 1 && bias.is_some() { first + second } else { first }
    };
    // A group is open if fewer than so many others are better, or as good with a lower number.
    let is_open = |group: usize| {
        x.groups == x.groups_used || {
            let own = group_worth(group);
            let better = |other: usize| {
                let worth = group_worth(other);
                worth > own || worth == own && other < group
            };
            (0..x.groups).filter(|other| better(*other)).count() < x.groups_used
        }
    };
    for choice in 0..ids.len() {
        let (chosen, rest) = ids.split_at_mut(choice);
        let mut best: Option<usize> = None;
        for group in (0..x.groups).filter(|group| is_open(*group)) {
            for id in group * size..(group + 1) * size {
                let is_better = best.is_none_or(|best| worth(id) > worth(best));
                if is_better && !chosen.contains(&(id as u32)) {
                    best = Some(id);
                }
            }
        }
        // A bias of NaN is better than nothing, so that there always is one.
        rest[0] = best.ok_or(NotFinite)? as u32;
    }
    for (weight, id) in weights.iter_mut().zip(&*ids) {
        *weight = scores[*id as usize];
    }
    if x.score == Score::SoftmaxOfChosen {
        softmax(weights);
    }
    if x.normalize {
        let sum: f32 = weights.iter().sum();
        let sum = if sum > LEAST_SUM { sum } else { LEAST_SUM };
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
    if x.scale != 1.0 {
        elementwise::scale(weights, x.scale);
    }
    Ok(())
}

/// What the sum of weights is at least taken for: 2^-14.
const LEAST_SUM: f32 = 1.0 / 16_384.0;

/// Softmax of a few numbers, summed in order.
#[inline(never)]
fn softmax(numbers: &mut [f32]) {
    let max = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    numbers.iter_mut().for_each(|number| *number = math::exp(*number - max));
    let sum: f32 = numbers.iter().sum();
    numbers.iter_mut().for_each(|number| *number /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    const FOUR: Experts = Experts {
        count: 4,
        used: 2,
        feed_forward: 1,
        shared: 0,
        groups: 1,
        groups_used: 1,
        score: Score::Softmax,
        normalize: true,
        scale: 1.0,
    };

    fn chosen(x: &Experts, scores: &[f32], bias: Option<&[f32]>) -> (Vec<u32>, Vec<f32>) {
        let (mut ids, mut weights) = (vec![0; x.used], vec![0.0; x.used]);
        route(x, &mut scores.to_vec(), bias, &mut ids, &mut weights).expect("finite");
        (ids, weights)
    }

    #[test]
    fn the_best_are_chosen_and_ties_go_to_the_lower_id() {
        assert_eq!(chosen(&FOUR, &[0.0, 2.0, 1.0, 2.0], None), (vec![1, 3], vec![0.5, 0.5]));
        assert_eq!(chosen(&FOUR, &[1.0; 4], None).0, [0, 1]);
        let plain = Experts { normalize: false, scale: 4.0, ..FOUR };
        assert_eq!(chosen(&plain, &[1.0; 4], None).1, [1.0, 1.0]);
    }

    #[test]
    fn a_selection_bias_changes_who_is_chosen_and_not_their_weight() {
        let x = Experts { score: Score::Sigmoid, normalize: false, ..FOUR };
        let (ids, weights) = chosen(&x, &[0.0, 3.0, 0.0, 0.0], Some(&[0.0, -1.0, 0.0, 1.0]));
        assert_eq!((ids, weights), (vec![3, 0], vec![0.5, 0.5]));
    }

    #[test]
    fn experts_come_from_the_groups_with_the_best_two_or_without_a_bias_with_the_best() {
        let x = Experts { groups: 2, score: Score::SoftmaxOfChosen, ..FOUR };
        // The best expert of all is in the group with the lower sum.
        assert_eq!(chosen(&x, &[5.0, -9.0, 1.0, 2.0], Some(&[0.0; 4])).0, [3, 2]);
        assert_eq!(chosen(&x, &[5.0, -9.0, 1.0, 2.0], None).0, [0, 1]);
    }

    #[test]
    fn scores_that_are_not_finite_are_refused() {
        let (mut ids, mut weights) = ([0; 2], [0.0; 2]);
        let mut scores = [0.0, f32::NAN, 0.0, 0.0];
        assert_eq!(route(&FOUR, &mut scores, None, &mut ids, &mut weights), Err(NotFinite));
    }
}
