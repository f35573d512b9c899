//! What computing tokens asks of a machine at least: weights to read, products to form.
//!
//! For those who compare a measured speed with what memory and arithmetic allow. Arithmetic over shapes; nothing is
//! computed by it.

use stonechat_kernels::Matrix;

use crate::model::Weight;
use crate::{Error, Model};

/// The matrices that one forward pass goes through, summed up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Matrices {
    /// Their bytes.
    pub bytes: u64,
    /// The products per token that meet int8 activations: the weights of the quantized ones.
    pub quantized: u64,
}

impl Matrices {
    fn add(&mut self, matrix: &Matrix<'_>) {
        self.bytes += matrix.bytes().len() as u64;
        if !matrix.format().is_float() {
            self.quantized += matrix.rows() as u64 * matrix.cols() as u64;
        }
    }
}

/// Layers, or what is left of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Layers {
    /// All but experts: gone through once for each batch, for all of its tokens.
    pub dense: Matrices,
    /// One expert of every layer that has some.
    pub expert: Matrices,
}

/// What the parts of a model cost. See the [module](self).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    /// The layers up to where the last one has stored keys and values, or has been through its other mixer.
    pub layers: Layers,
    /// What follows in the last layer, if the model continues texts: gone through only for positions whose logits are asked
    /// for.
    pub last: Layers,
    /// How many experts a layer has, and how many of them a token meets.
    pub experts: [u64; 2],
    /// The output head, likewise.
    pub head: Matrices,
    /// The bytes of a token's row of the embedding.
    pub embedding: u64,
}

impl Cost {
    /// Bytes of weights read when `tokens` tokens are fed in batches of `batch`, and the last one's logits computed.
    /// The tokens of a batch are taken to choose different experts as far as they can.
    pub fn bytes(&self, tokens: u64, batch: u64) -> u64 {
        let [count, used] = self.experts;
        let met = |layers: &Layers, tokens: u64| {
            let experts = layers.expert.bytes * count.min(used * tokens);
            if tokens == 0 { 0 } else { layers.dense.bytes + experts }
        };
        let layers = met(&self.layers, batch) * (tokens / batch) + met(&self.layers, tokens % batch);
        layers + met(&self.last, 1) + self.head.bytes + self.embedding * tokens
    }

    /// Products of int8 formed when `tokens` tokens are fed at once, and the last one's logits computed.
    pub const fn products(&self, tokens: u64) -> u64 {
        let (layers, last) = (&self.layers, &self.last);
        (layers.dense.quantized + layers.expert.quantized * self.experts[1]) * tokens
            + last.dense.quantized
            + last.expert.quantized * self.experts[1]
            + self.head.quantized
    }
}

impl Model<'_> {
    /// What computing this model's tokens costs.
    pub fn cost(&self) -> Result<Cost, Error> {
        let (mut layers, mut last, mut head) = (Layers::default(), Layers::default(), Matrices::default());
        let h = self.hyperparameters();
        for number in 0..h.layers {
            let (layer, recurs) = (self.view(number)?, self.layer(number)?.mixer().recurs());
            for weight in Weight::ALL {
                if let Some(matrix) = layer.weight(weight)? {
                    // What gives embeddings has every token's.
                    let follows = weight.follows_mixers() || weight.follows_cache() && !recurs;
                    let is_last = h.causal && number + 1 == h.layers && follows;
                    let layers = if is_last { &mut last } else { &mut layers };
                    if weight.is_of_experts() { &mut layers.expert } else { &mut layers.dense }.add(&matrix);
                }
            }
        }
        // What gives embeddings goes without.
        if h.causal {
            head.add(self.head());
        }
        let mut embedding = self.embedding().row_bytes();
        embedding += self.positions().map_or(0, Matrix::row_bytes);
        embedding += self.token_types().map_or(0, Matrix::row_bytes);
        if let Some(inputs) = self.layer_inputs() {
            layers.dense.add(&inputs.projection);
            embedding += inputs.embedding.row_bytes();
        }
        let count = h.experts.count as u64;
        for Matrices { bytes, quantized } in [&mut layers.expert, &mut last.expert] {
            *bytes = bytes.checked_div(count).unwrap_or(0);
            *quantized = quantized.checked_div(count).unwrap_or(0);
        }
        Ok(Cost { layers, last, experts: [count, h.experts.used as u64], head, embedding: embedding as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn layers(dense: u64, expert: u64) -> Layers {
        Layers {
            dense: Matrices { bytes: dense, quantized: 2 * dense },
            expert: Matrices { bytes: expert, quantized: 2 * expert },
        }
    }

    const DENSE: Cost = Cost {
        layers: layers(1000, 0),
        last: layers(30, 0),
        experts: [0, 0],
        head: Matrices { bytes: 100, quantized: 200 },
        embedding: 1,
    };

    #[test]
    fn layers_are_read_once_for_each_batch_and_what_gives_logits_once() {
        assert_eq!(DENSE.bytes(1, 512), 1000 + 30 + 100 + 1);
        assert_eq!(DENSE.bytes(512, 512), 1000 + 30 + 100 + 512);
        assert_eq!(DENSE.bytes(513, 512), 2 * 1000 + 30 + 100 + 513);
        assert_eq!(DENSE.products(10), 10 * 2000 + 60 + 200);
    }

    #[test]
    fn of_the_experts_only_the_chosen_are_read() {
        let cost = Cost { layers: layers(1000, 10), last: layers(30, 3), experts: [8, 2], ..DENSE };
        let once = 30 + 2 * 3 + 100;
        assert_eq!(cost.bytes(1, 512), 1000 + 2 * 10 + once + 1);
        assert_eq!(cost.bytes(3, 512), 1000 + 6 * 10 + once + 3);
        assert_eq!(cost.bytes(513, 512), 2 * 1000 + (8 + 2) * 10 + once + 513);
        assert_eq!(cost.products(10), 10 * (2000 + 2 * 20) + 2 * once);
    }
}
