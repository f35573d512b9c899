//! What repetitions say together.
//!
//! The median and the quartiles are the headline: one disturbed repetition of five moves neither. Mean and standard
//! deviation are there because llama-bench reports them.

/// Summary of some samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub mean: f64,
    /// Of the sample, as llama-bench has it: the sum of squares is divided by n - 1.
    pub stddev: f64,
    pub median: f64,
    /// The lower and the upper quartile: half of the samples lie between them.
    pub quartiles: [f64; 2],
}

/// Sums up `samples`, of which there is at least one.
pub fn summary(samples: &[f64]) -> Summary {
    let n = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / n;
    let squares: f64 = samples.iter().map(|x| (x - mean) * (x - mean)).sum();
    let stddev = if samples.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 };
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share| quantile(&sorted, share);
    Summary { mean, stddev, median: at(0.5), quartiles: [at(0.25), at(0.75)] }
}

/// The number below which `share` of the sorted numbers lie; between two of them, on the line that joins them.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (place - place.floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_odd_and_even_numbers_of_samples() {
        assert_eq!(summary(&[3.0, 1.0, 2.0]).median, 2.0);
        assert_eq!(summary(&[4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(summary(&[7.0]).median, 7.0);
    }

    #[test]
    fn quartiles_lie_on_the_line_between_samples() {
        assert_eq!(summary(&[1.0, 2.0, 3.0, 4.0, 5.0]).quartiles, [2.0, 4.0]);
        assert_eq!(summary(&[1.0, 2.0, 3.0, 4.0]).quartiles, [1.75, 3.25]);
        assert_eq!(summary(&[7.0]).quartiles, [7.0, 7.0]);
    }

    #[test]
    fn mean_and_deviation_are_those_of_a_sample() {
        let of = summary(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!(of.mean, 5.0);
        assert!((of.stddev - (32.0f64 / 7.0).sqrt()).abs() < 1e-12);
        assert_eq!(summary(&[7.0]).stddev, 0.0);
    }

    #[test]
    fn one_disturbed_repetition_moves_the_mean_but_not_the_median() {
        let of = summary(&[100.0, 101.0, 99.0, 100.0, 10.0]);
        assert_eq!(of.median, 100.0);
        assert!(of.mean < 83.0);
    }
}
