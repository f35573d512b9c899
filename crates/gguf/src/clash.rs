//! Finds two items that must not occur together, such as equal names or overlapping ranges, without a heap.

/// Items that are compared with all later ones in one pass.
const WINDOW: usize = 64;

/// The first two items, in the order of the later one, for which `clash` holds.
///
/// Every item is compared with every later one, but the items are walked only once for each 64 of them: a pass holds
/// 64 in a window and compares those after with it. For `n` items that is `n² / 2` comparisons and `n² / 128` steps of
/// the iterator, and both are bounded because `n` is ([`limits`](crate::limits)). A file with 300 tensors takes some
/// 50 µs; the worst that the limits let through, a fraction of a second.
pub(crate) fn first_clash<T: Copy, I: Iterator<Item = T> + Clone>(
    items: I,
    clash: impl Fn(&T, &T) -> bool,
) -> Option<(T, T)> {
    let mut pass = items;
    loop {
        let mut window = heapless::Vec::<T, WINDOW>::new();
        let mut next_pass = None;
        let mut walk = pass;
        while let Some(item) = walk.next() {
            if let Some(earlier) = window.iter().find(|earlier| clash(earlier, &item)) {
                return Some((*earlier, item));
            }
            if next_pass.is_none() && window.push(item).is_ok() && window.is_full() {
                next_pass = Some(walk.clone());
            }
        }
        pass = next_pass?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_compared() {
        const N: usize = 3 * WINDOW + 5;
        for i in 0..N {
            for j in [i + 1, i + WINDOW - 1, i + WINDOW, i + WINDOW + 1, N - 1] {
                if i < j && j < N {
                    let found = first_clash(0..N, |&a, &b| (a, b) == (i, j));
                    assert_eq!(found, Some((i, j)));
                }
            }
        }
    }

    #[test]
    fn no_pair_is_compared_twice() {
        for n in [0, 1, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW, 200] {
            let comparisons = core::cell::Cell::new(0);
            let found = first_clash(0..n, |a, b| {
                comparisons.set(comparisons.get() + 1);
                a >= b
            });
            assert_eq!(found, None);
            assert_eq!(comparisons.get(), n * n.saturating_sub(1) / 2);
        }
    }
}
