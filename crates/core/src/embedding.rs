//! Embeddings: one vector for a text, made of the vectors that a model has for its tokens.
//!
//! A model of sentence-transformers (Reimers and Gurevych 2019, arXiv:1908.10084) says in its file how they are pooled.
//! Sums go in the order of tokens, so that an embedding has the same bits on every CPU.

use crate::{Error, Model};

/// How the vectors of a text's tokens become embeddings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Pooling {
    /// Not at all: one for each token.
    None,
    /// Their mean: the sum, in order from 0, divided by their number.
    Mean,
    /// That of the first token, BERT's `[CLS]`.
    Cls,
    /// That of the last token.
    Last,
}

impl Model<'_> {
    /// The pooling that the file states by the key `pooling_type`, if it does.
    pub fn pooling(&self) -> Result<Option<Pooling>, Error> {
        const KEY: &str = "pooling_type";
        let keys = self.keys();
        Ok(match keys.opt_u32(KEY)? {
            None => None,
            Some(0) => Some(Pooling::None),
            Some(1) => Some(Pooling::Mean),
            Some(2) => Some(Pooling::Cls),
            Some(3) => Some(Pooling::Last),
            Some(4) => return Err(Error::RanksTexts),
            Some(_) => return Err(keys.bad(KEY, "0 (none), 1 (mean), 2 (first), 3 (last) or 4 (rank)")),
        })
    }

    /// The length of an embedding.
    pub fn embedding_len(&self, pooling: Pooling) -> usize {
        let pooled = self.dense().last().filter(|_| pooling != Pooling::None);
        pooled.map_or(self.hyperparameters().embedding, stonechat_kernels::Matrix::rows)
    }
}

/// Gives `x` the length 1: each value divided by the root of the sum of squares, in f64 and in order. A vector of zeros
/// stays as it is.
pub fn normalize(x: &mut [f32]) {
    let length = libm::sqrt(dot(x, x));
    if length > 0.0 {
        x.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
}

/// The cosine of the angle between two vectors, in f64; 0 where one of them is all zeros.
///
/// # Panics
/// If the lengths differ.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "vectors of one model");
    let lengths = libm::sqrt(dot(a, a)) * libm::sqrt(dot(b, b));
    if lengths > 0.0 { dot(a, b) / lengths } else { 0.0 }
}

/// The sum of products, in order.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + f64::from(*a) * f64::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_normalized_vector_has_the_length_1_and_zeros_stay() {
        let mut x = [3.0, -4.0];
        normalize(&mut x);
        assert_eq!(x, [0.6, -0.8]);
        // Squares that f32 cannot hold.
        let mut large = [1e30, 1e30];
        normalize(&mut large);
        assert_eq!(large, [core::f32::consts::FRAC_1_SQRT_2; 2]);
        let mut zeros = [0.0, -0.0];
        normalize(&mut zeros);
        assert_eq!(zeros.map(f32::to_bits), [0.0f32, -0.0].map(f32::to_bits));
    }

    #[test]
    fn a_cosine_is_of_the_angle_alone() {
        assert_eq!(cosine(&[2.0, 0.0], &[0.0, 7.0]), 0.0);
        assert_eq!(cosine(&[1.0, 1.0], &[-3.0, -3.0]).round(), -1.0);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), 0.0);
    }
}
