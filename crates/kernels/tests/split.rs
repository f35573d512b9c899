//! Splits hand out every part of an output once, and parts never overlap.

use stonechat_kernels::split::{Columns, Planes, Split};

/// The widths of the parts in which `workers` workers claim `width` columns of two tokens; checks that each output was
/// handed out once.
fn widths(width: usize, workers: usize, unit: usize) -> Vec<usize> {
    let mut out = vec![0.0; 2 * width];
    let split = Split::new(Columns::shrinking(&mut out, width, workers, unit));
    let mut widths = Vec::new();
    while let Some((index, mut tile)) = split.claim() {
        assert_eq!(index, widths.len(), "parts are numbered in the order in which they are claimed");
        widths.push(tile.columns().len());
        for token in 0..2 {
            tile.token(token).iter_mut().for_each(|x| *x += 1.0);
        }
    }
    assert!(out.iter().all(|x| *x == 1.0), "{width} columns for {workers} workers in units of {unit}");
    widths
}

#[test]
fn shrinking_parts_cover_each_column_once() {
    for width in [1, 15, 16, 17, 31, 32, 100, 576, 2048, 3073, 49152] {
        for workers in [1, 2, 3, 4, 7, 64] {
            for unit in [1, 16, 32] {
                let widths = widths(width, workers, unit);
                assert!(widths[..widths.len() - 1].iter().all(|len| len.is_multiple_of(unit)));
            }
        }
    }
}

#[test]
fn parts_shrink_so_that_workers_end_together() {
    let widths = widths(2048, 2, 32);
    assert_eq!(widths, [512, 512, 256, 256, 128, 128, 64, 64, 32, 32, 32, 32]);
}

#[test]
fn planes_are_the_same_columns_of_all_matrices_and_nothing_beside_them() {
    // Three texts of 11 numbers: one, then a matrix of 2 x 4, then two more.
    let mut out = vec![0.0; 33];
    let split = Split::new(Planes::new(&mut out, 11, 1..9, 4, 3));
    let mut widths = Vec::new();
    while let Some((index, mut part)) = split.claim() {
        for plane in [2, 0, 1] {
            let mut tile = part.plane(plane);
            assert_eq!((tile.columns().start, tile.tokens()), (3 * index, 2));
            for token in 0..2 {
                tile.token(token)
                    .iter_mut()
                    .for_each(|x| *x += (100 * plane + 10 * token + index + 1) as f32);
            }
        }
        widths.push(part.plane(0).columns().len());
    }
    assert_eq!(widths, [3, 1]);
    for plane in 0..3 {
        let first = (100 * plane + 1) as f32;
        let row = |token: f32| [first + token, first + token, first + token, first + token + 1.0];
        let (one, two) = (row(0.0), row(10.0));
        let expected: Vec<f32> = [&[0.0][..], &one, &two, &[0.0, 0.0]].concat();
        assert_eq!(out[11 * plane..][..11], expected[..], "matrix {plane}");
    }
}
