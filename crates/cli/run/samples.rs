//! Several answers to one prompt, of which one is chosen (Wang et al. 2022, "self-consistency", arXiv:2203.11171).
//!
//! The prompt is read once: each answer begins where it ends, with another seed.

use serde_json::{Value, json};

use crate::args::Choose;

/// An answer among several.
pub struct Sample {
    pub seed: u64,
    pub text: String,
    pub reasoning: String,
    pub ids: Vec<u32>,
    pub stop: &'static str,
    /// The mean log probability of its tokens.
    pub logprob: f64,
}

impl Sample {
    /// For programs.
    pub fn json(&self) -> Value {
        let mut sample = json!({
            "seed": self.seed, "text": self.text, "ids": self.ids, "stop": self.stop, "mean_logprob": self.logprob,
        });
        if !self.reasoning.is_empty() {
            sample["reasoning"] = json!(self.reasoning);
        }
        sample
    }
}

/// Which of the answers is chosen: of those that came to their end, if any did.
///
/// # Panics
/// If there are none.
pub fn chosen(samples: &[Sample], choose: Choose) -> usize {
    let texts: Vec<String> = samples.iter().map(|sample| normal(&sample.text)).collect();
    let merit = |at: usize| {
        let votes = match choose {
            Choose::Majority => texts.iter().filter(|text| **text == texts[at]).count(),
            Choose::Logprob => 0,
        };
        (samples[at].stop == "end", votes, samples[at].logprob)
    };
    // Of equals the first.
    (1..samples.len()).fold(0, |best, at| if merit(at) > merit(best) { at } else { best })
}

/// A text without what makes no other answer of it: case, space, and the full stop at its end.
fn normal(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ").trim_end_matches(['.', '!']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(answers: &[(&str, f64)]) -> Vec<Sample> {
        let sample = |(seed, (text, logprob)): (usize, &(&str, f64))| Sample {
            seed: seed as u64,
            text: (*text).to_owned(),
            reasoning: String::new(),
            ids: Vec::new(),
            stop: "end",
            logprob: *logprob,
        };
        answers.iter().enumerate().map(sample).collect()
    }

    #[test]
    fn most_answers_win_however_they_are_written_and_the_likeliest_of_them_speaks() {
        let four = samples(&[("41", -0.1), ("It is 42.", -0.9), ("it is  42", -0.5), ("43", -0.2)]);
        assert_eq!(chosen(&four, Choose::Majority), 2);
        assert_eq!(chosen(&four, Choose::Logprob), 0);
    }

    #[test]
    fn where_no_two_agree_the_likeliest_wins() {
        let three = samples(&[("a", -0.3), ("b", -0.2), ("c", -0.4)]);
        assert_eq!(chosen(&three, Choose::Majority), 1);
        assert_eq!(chosen(&samples(&[("a", -1.0)]), Choose::Majority), 0);
        let mut cut = samples(&[("a", -0.1), ("b", -0.2), ("c", -0.3)]);
        cut[0].stop = "length";
        assert_eq!(chosen(&cut, Choose::Majority), 1);
    }
}
