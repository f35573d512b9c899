//! The generator: a pure function of (seed, stream, position), so that a draw does not depend on those before it.

/// Which draw of a position it is: each kind has a stream of its own, so that none moves another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Stream {
    /// The draw of the token.
    Token = 0,
    /// Whether XTC strikes.
    Xtc = 1,
    /// The draw of the token under mirostat.
    Mirostat = 2,
}

/// A number in [0, 1), a multiple of 2^-24, from Philox4x32-10 with the key `seed` and the counter (`position`, `stream`).
pub fn uniform(seed: u64, stream: Stream, position: u64) -> f32 {
    let counter = [position as u32, (position >> 32) as u32, stream as u32, 0];
    let [word, ..] = philox(counter, [seed as u32, (seed >> 32) as u32]);
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
        }
        let a = u64::from(counter[0]) * 0xd251_1f53;
        let b = u64::from(counter[2]) * 0xcd9e_8d57;
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::philox;

    /// Known answers published with the Random123 library (`kat_vectors`).
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }
}
