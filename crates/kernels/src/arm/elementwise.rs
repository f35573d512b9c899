//! What happens to a row of activations between matrices.

use crate::activations::{BLOCK, HALF, QuantizedMut};
use crate::elementwise::NotFinite;
use crate::math::ROUND;

/// A row in int8 blocks.
///
/// `x / d` is at most 127 and a trifle, for which adding and subtracting [`ROUND`] rounds as `rintf` does; so no number
/// needs to be clamped after that.
pub fn quantize(x: &[f32], out: &mut QuantizedMut<'_>) -> Result<(), NotFinite> {
    let blocks = out.q.as_chunks_mut::<BLOCK>().0.iter_mut().zip(out.sums.as_chunks_mut::<2>().0);
    for ((x, d), (q, sums)) in x.as_chunks::<BLOCK>().0.iter().zip(out.d.iter_mut()).zip(blocks) {
        // Magnitudes compare like their bits, NaN above infinity above all finite ones.
        let amax = x.iter().map(|x| x.to_bits() & 0x7fff_ffff).fold(0, u32::max);
        if amax >= f32::INFINITY.to_bits() {
            return Err(NotFinite);
        }
        *d = f32::from_bits(amax) / 127.0;
        if *d < f32::MIN_POSITIVE {
            (*d, *q, *sums) = (0.0, [0; BLOCK], [0; 2]);
            continue;
        }
        let halves = q.as_chunks_mut::<HALF>().0.iter_mut().zip(x.as_chunks::<HALF>().0);
        for ((q, x), sum) in halves.zip(sums) {
            let mut total = 0;
            for (q, x) in q.iter_mut().zip(x) {
                // The lowest byte of the sum's bits is the rounded number, for it is a multiple of 2^0 beside 3 * 2^22.
                let rounded = (x / *d + ROUND).to_bits() as i8;
                *q = rounded;
                total += i32::from(rounded);
            }
            *sum = total as i16;
        }
    }
    Ok(())
}
