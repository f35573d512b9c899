//! What texts have in common: which place a job takes, and whose beginning it shares.
//!
//! In: the tokens of texts. Out: numbers of places, and how many tokens are alike. Nothing here computes.

/// Fewer tokens in common are read as quickly as they are found.
pub(super) const WORTH_SHARING: usize = 16;

/// How many tokens two texts begin with alike.
pub(super) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A place that is free.
#[derive(Clone, Copy, Debug)]
pub(super) struct Free<'t> {
    pub number: usize,
    /// What was fed there.
    pub tokens: &'t [u32],
    /// When it was used last.
    pub used: u64,
}

/// The place for a text: one whose tokens it goes on with, for the most part; else the one that was used longest ago, so that
/// conversations that may go on lose nothing. What it shares with them can be copied.
pub(super) fn place<'t>(free: impl Iterator<Item = Free<'t>> + Clone, prompt: &[u32]) -> Option<usize> {
    let goes_on = free
        .clone()
        .map(|place| (common(place.tokens, prompt), place))
        .filter(|(same, place)| *same > 0 && 2 * same >= place.tokens.len())
        .max_by_key(|(same, _)| *same);
    let place = match goes_on {
        Some((_, place)) => Some(place),
        None => free.min_by_key(|place| place.used),
    };
    place.map(|place| place.number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_goes_where_it_goes_on_or_where_least_is_lost() {
        let texts: [&[u32]; 4] = [&[], &[1, 2, 3, 4, 5, 6], &[1, 2, 9], &[7, 7]];
        let find = |prompt: &[u32], used: [u64; 4]| {
            let free = texts.iter().zip(used).enumerate();
            place(free.map(|(number, (tokens, used))| Free { number, tokens, used }), prompt)
        };
        // A conversation goes on; of several the longest.
        assert_eq!(find(&[1, 2, 3, 4, 5, 6, 8], [0, 1, 2, 3]), Some(1));
        assert_eq!(find(&[1, 2, 9, 4], [0, 1, 2, 3]), Some(2));
        // It was taken back a little.
        assert_eq!(find(&[1, 2, 3, 8], [0, 1, 2, 3]), Some(1));
        // Another one that begins alike takes the place that was used longest ago.
        assert_eq!(find(&[1, 5], [4, 1, 2, 3]), Some(1));
        assert_eq!(find(&[1, 5], [0, 1, 2, 3]), Some(0));
        assert_eq!(find(&[8], [4, 5, 2, 3]), Some(2));
        assert_eq!(place([].into_iter(), &[1]), None);
    }
}
