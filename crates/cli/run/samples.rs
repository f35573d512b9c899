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

/// Which of the answers is chosen. The same for all orders that answers of equal merit could come in but that of seeds.
///
/// # Panics
/// If there are none.
pub fn chosen(samples: &[Sample], choose: Choose) -> usize {
    let texts: Vec<String> = samples.iter().map(|sample| normal(&sample.text)).collect();
    let votes = |at: usize| texts.iter().filter(|text| **text == texts[at]).count();
    let mut best = 0;
    for at in 1..samples.len() {
        let likelier = samples[at].logprob > samples[best].logprob;
        let better = match choose {
            Choose::Logprob => likelier,
            Choose::Majority => votes(at) > votes(best) || votes(at) == votes(best) && likelier,
        };
        if better {
            best = at;
        }
    }
    best
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
    }
}
