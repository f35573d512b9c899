//! The steps of a chain, their names, and their order.

use core::fmt;

/// A step between logits and the draw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Penalties for recent tokens.
    Penalties,
    /// The penalty for going on with a repetition.
    Dry,
    /// A cut at some standard deviations below the best.
    TopNSigma,
    /// A cut after the k best.
    TopK,
    /// A choice of what is about as surprising as expected.
    Typical,
    /// A cut where a probability is reached.
    TopP,
    /// A cut at a fraction of the best probability.
    MinP,
    /// Now and then, the best are left out.
    Xtc,
    /// The division by the temperature.
    Temperature,
}

impl Step {
    /// All, in llama.cpp's order, with llama.cpp's names and letters.
    const ALL: [(Self, &'static str, char); 9] = [
        (Self::Penalties, "penalties", 'e'),
        (Self::Dry, "dry", 'd'),
        (Self::TopNSigma, "top_n_sigma", 's'),
        (Self::TopK, "top_k", 'k'),
        (Self::Typical, "typ_p", 'y'),
        (Self::TopP, "top_p", 'p'),
        (Self::MinP, "min_p", 'm'),
        (Self::Xtc, "xtc", 'x'),
        (Self::Temperature, "temperature", 't'),
    ];

    /// Its name, as llama.cpp writes it.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(step, ..)| *step == self).map_or("", |(_, name, _)| name)
    }

    /// The step with a name: as llama.cpp writes it, with hyphens or without either (`top_k`, `top-k`, `topk`), in any
    /// case, or a short one (`temp`, `typ`, `nucleus`).
    fn named(name: &str) -> Option<Self> {
        let same = |known: &str| {
            let letters = |text: &'_ str| text.bytes().filter(|b| !matches!(b, b'_' | b'-')).count();
            let ours = known.bytes().filter(|b| *b != b'_');
            let theirs = name.bytes().filter(|b| !matches!(b, b'_' | b'-'));
            letters(known) == letters(name) && ours.zip(theirs).all(|(a, b)| a.eq_ignore_ascii_case(&b))
        };
        let aliases = [
            ("nucleus", Self::TopP),
            ("temp", Self::Temperature),
            ("typ", Self::Typical),
            ("typical", Self::Typical),
        ];
        let known = Self::ALL.iter().map(|(step, name, _)| (*name, *step));
        known.chain(aliases).find(|(known, _)| same(known)).map(|(_, step)| step)
    }
}

/// The most steps that a chain has; a step may occur several times.
pub const MAX_STEPS: usize = 32;

/// Steps in their order.
#[derive(Clone, Copy)]
pub struct Chain {
    steps: [Step; MAX_STEPS],
    len: usize,
}

/// Why a text names no chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChainError<'t> {
    /// This names no step.
    Unknown(&'t str),
    /// There are more than [`MAX_STEPS`].
    TooMany,
}

impl Default for Chain {
    /// llama.cpp's order.
    fn default() -> Self {
        let mut chain = Self { steps: [Step::Temperature; MAX_STEPS], len: Step::ALL.len() };
        for (place, (step, ..)) in chain.steps.iter_mut().zip(Step::ALL) {
            *place = step;
        }
        chain
    }
}

impl Chain {
    /// The chain of these names, with a semicolon between any two (llama.cpp's `--samplers`).
    pub fn from_names(names: &str) -> Result<Self, ChainError<'_>> {
        let names = names.split(';').map(str::trim).filter(|name| !name.is_empty());
        Self::collect(names.map(|name| Step::named(name).ok_or(ChainError::Unknown(name))))
    }

    /// The chain of these letters (llama.cpp's `--sampler-seq`).
    pub fn from_letters(letters: &str) -> Result<Self, ChainError<'_>> {
        Self::collect(letters.char_indices().map(|(at, letter)| {
            let known = Step::ALL.iter().find(|(.., known)| *known == letter);
            known.map(|(step, ..)| *step).ok_or(ChainError::Unknown(&letters[at..at + letter.len_utf8()]))
        }))
    }

    fn collect<'t>(
        steps: impl Iterator<Item = Result<Step, ChainError<'t>>>,
    ) -> Result<Self, ChainError<'t>> {
        let mut chain = Self { len: 0, ..Self::default() };
        for step in steps {
            *chain.steps.get_mut(chain.len).ok_or(ChainError::TooMany)? = step?;
            chain.len += 1;
        }
        Ok(chain)
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps[..self.len]
    }
}

impl PartialEq for Chain {
    fn eq(&self, other: &Self) -> bool {
        self.steps() == other.steps()
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps()).finish()
    }
}

impl fmt::Display for ChainError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(f, "there is no sampler '{name}'; there are:")?;
                Step::ALL.iter().try_for_each(|(_, name, letter)| write!(f, " {name} ({letter})"))
            }
            Self::TooMany => write!(f, "a chain has at most {MAX_STEPS} samplers"),
        }
    }
}

impl core::error::Error for ChainError<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_letters_give_the_same_chain() {
        let names = "penalties;dry;top_n_sigma;top-k;TYP_P;topp;min_p;xtc;temp";
        assert_eq!(Chain::from_names(names).unwrap(), Chain::default());
        assert_eq!(Chain::from_letters("edskypmxt").unwrap(), Chain::default());
        assert_eq!(Chain::from_letters("kk").unwrap().steps(), [Step::TopK; 2]);
        assert_eq!(Chain::from_names("").unwrap().steps(), []);
    }

    #[test]
    fn what_is_no_sampler_is_named() {
        assert_eq!(Chain::from_names("top_k;topq"), Err(ChainError::Unknown("topq")));
        assert_eq!(Chain::from_names("top_"), Err(ChainError::Unknown("top_")));
        assert_eq!(Chain::from_letters("kéx"), Err(ChainError::Unknown("é")));
        assert_eq!(Chain::from_letters(&"k".repeat(33)), Err(ChainError::TooMany));
    }
}
