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

/// What the parts of a model cost. See the [module](self).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    /// The layers: gone through once for each batch, for all of its tokens.
    pub layers: Matrices,
    /// The output head: gone through only for positions whose logits are asked for.
    pub head: Matrices,
    /// The bytes of a token's row of the embedding.
    pub embedding: u64,
}

impl Cost {
    /// Bytes of weights read when `tokens` tokens are fed in batches of `batch`, and the last one's logits computed.
    pub const fn bytes(&self, tokens: u64, batch: u64) -> u64 {
        self.layers.bytes * tokens.div_ceil(batch) + self.head.bytes + self.embedding * tokens
    }

    /// Products of int8 formed when `tokens` tokens are fed at once, and the last one's logits computed.
    pub const fn products(&self, tokens: u64) -> u64 {
        self.layers.quantized * tokens + self.head.quantized
    }
}

impl Model<'_> {
    /// What computing this model's tokens costs.
    pub fn cost(&self) -> Result<Cost, Error> {
        let mut layers = Matrices::default();
        for layer in 0..self.hyperparameters().layers {
            for weight in Weight::ALL {
                layers.add(&self.weight(layer, weight)?);
            }
        }
        let mut head = Matrices::default();
        head.add(self.head());
        Ok(Cost { layers, head, embedding: self.embedding().row_bytes() as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_read_once_for_each_batch_and_the_head_once() {
        let cost = Cost {
            layers: Matrices { bytes: 1000, quantized: 2000 },
            head: Matrices { bytes: 100, quantized: 200 },
            embedding: 1,
        };
        assert_eq!(cost.bytes(1, 512), 1000 + 100 + 1);
        assert_eq!(cost.bytes(513, 512), 2 * 1000 + 100 + 513);
        assert_eq!(cost.products(10), 10 * 2000 + 200);
    }
}
