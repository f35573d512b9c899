//! The models that have a name: what each is, and where its file can be fetched.
//!
//! One TOML file per model in `models/`, built into the program. In goes a name that a person typed; out comes the
//! manifest, or an error that suggests near names. To add a model, add its file and a line in `FILES`.

mod read;

use std::fmt;
use std::sync::OnceLock;

use crate::Error;

/// The manifests, the default model's first.
const FILES: [&str; 2] =
    [include_str!("../../../models/smollm2-135m.toml"), include_str!("../../../models/gemma-3-270m.toml")];

/// A model that can be pulled by name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[cfg_attr(test, serde(deny_unknown_fields))]
pub struct Manifest {
    /// The name to type.
    pub name: String,
    /// Other names for it.
    #[cfg_attr(test, serde(default))]
    pub aliases: Vec<String>,
    /// What it is, for people.
    pub title: String,
    /// The terms it comes under.
    pub licence: String,
    /// The name of its file.
    pub file: String,
    /// The bytes of its file.
    pub size: u64,
    /// The SHA-256 of its file, in lower-case hexadecimal.
    pub sha256: String,
    /// Where it can be fetched, best first.
    pub sources: Vec<Source>,
}

/// A place that has the file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[cfg_attr(test, serde(rename_all = "lowercase"))]
pub enum Source {
    /// A model hub, by HTTP.
    Hub(Hub),
    /// Packages of the Python package index, by the user's own `pip`.
    Pypi(Pypi),
}

/// A file behind a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[cfg_attr(test, serde(deny_unknown_fields))]
pub struct Hub {
    /// The file's address.
    pub url: String,
}

/// A file inside packages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[cfg_attr(test, serde(deny_unknown_fields))]
pub struct Pypi {
    /// The pieces of the file, in order; often one.
    pub parts: Vec<Part>,
}

/// A piece of a file inside a package.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[cfg_attr(test, serde(deny_unknown_fields))]
pub struct Part {
    /// The package's name.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The path of the piece inside the wheel.
    pub member: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub(hub) => f.write_str(&hub.url),
            Self::Pypi(pypi) => match pypi.parts.as_slice() {
                [first, .., last] => write!(
                    f,
                    "the packages {}=={} to {}=={}",
                    first.package, first.version, last.package, last.version
                ),
                [part] => write!(f, "{part}"),
                [] => f.write_str("no package"),
            },
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the package {}=={}", self.package, self.version)
    }
}

/// All models that have a name, the default one first.
#[allow(clippy::missing_panics_doc)]
pub fn all() -> &'static [Manifest] {
    static ALL: OnceLock<Vec<Manifest>> = OnceLock::new();
    ALL.get_or_init(|| {
        FILES.iter().map(|text| read::read(text).expect("a test reads every manifest")).collect()
    })
}

/// The model that is no file.
#[cfg(feature = "built-in")]
const BUILT_IN: Option<&str> = Some(crate::built_in::NAME);
#[cfg(not(feature = "built-in"))]
const BUILT_IN: Option<&str> = None;

/// The model to use when none is named.
pub fn default_model() -> &'static Manifest {
    &all()[0]
}

/// The model of this name or alias; upper and lower case are the same.
pub fn find(name: &str) -> Result<&'static Manifest, Error> {
    let is = |other: &String| other.eq_ignore_ascii_case(name);
    all().iter().find(|manifest| is(&manifest.name) || manifest.aliases.iter().any(is)).ok_or_else(|| {
        Error::UnknownModel {
            name: name.to_owned(),
            near: near(name),
            known: all().iter().map(|m| m.name.as_str()).chain(BUILT_IN).collect(),
        }
    })
}

/// The models whose name or alias could have been meant, nearest first.
fn near(name: &str) -> Vec<&'static str> {
    let name = name.to_ascii_lowercase();
    // A third of the letters may be wrong; a beginning of a name may stop anywhere after the third letter.
    let tolerance = name.chars().count().div_ceil(3);
    let distance = |other: &str| {
        if other.starts_with(&name) && name.len() > 2 { 0 } else { edit_distance(&name, other) }
    };
    let mut near: Vec<_> = all()
        .iter()
        .filter_map(|manifest| {
            let names = manifest.aliases.iter().chain([&manifest.name]);
            let nearest = names.map(|other| distance(other)).min()?;
            (nearest <= tolerance).then_some((nearest, manifest.name.as_str()))
        })
        .collect();
    near.sort_unstable();
    near.into_iter().map(|(_, name)| name).collect()
}

/// How many letters must be changed, added or left out to make one word of the other (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    // `row[j]`: the distance between what has been read of `a` and the first j letters of `b`.
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_manifest_is_sound_and_no_name_is_used_twice() {
        let mut names = HashSet::new();
        for manifest in all() {
            for name in manifest.aliases.iter().chain([&manifest.name]) {
                assert!(names.insert(name.clone()), "{name} is used twice");
                assert_eq!(find(name).unwrap(), manifest);
            }
            assert_eq!(manifest.sha256.len(), 64);
            assert!(manifest.sha256.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c)));
            let path = Path::new(&manifest.file);
            assert_eq!(path.file_name().unwrap(), path, "the file's name must not leave its folder");
            assert_eq!(path.extension().unwrap(), "gguf");
            assert!(manifest.size > 0 && !manifest.sources.is_empty());
            for source in &manifest.sources {
                match source {
                    Source::Hub(hub) => assert!(hub.url.starts_with("https://")),
                    Source::Pypi(pypi) => assert!(!pypi.parts.is_empty()),
                }
            }
        }
    }

    #[test]
    fn manifests_are_read_as_by_serde() {
        for text in FILES {
            assert_eq!(read::read(text), Some(toml::from_str(text).expect("no key that nobody knows")));
        }
    }

    #[test]
    fn every_file_in_the_models_folder_is_built_in_under_its_name() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut manifests: Vec<_> =
            files.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
        manifests.sort();
        let mut names: Vec<_> = all().iter().map(|manifest| manifest.name.as_str()).collect();
        names.sort_unstable();
        let stems: Vec<_> =
            manifests.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect();
        assert_eq!(stems, names);
    }

    #[test]
    fn names_are_found_in_any_case_and_near_ones_are_suggested() {
        assert_eq!(default_model().name, "smollm2-135m");
        assert_eq!(find("SmolLM2").unwrap(), default_model());
        let said = |name| find(name).unwrap_err().to_string();
        assert_eq!(said("smolm2-135"), "there is no model named 'smolm2-135'; did you mean smollm2-135m?");
        assert_eq!(said("gem"), "there is no model named 'gem'; did you mean gemma-3-270m?");
        assert_eq!(
            said("mistral-large"),
            format!(
                "there is no model named 'mistral-large'; there are smollm2-135m, gemma-3-270m, {}or give the path of a GGUF file",
                BUILT_IN.map(|name| format!("{name}, ")).unwrap_or_default()
            )
        );
        assert!(said("").contains("there are smollm2-135m"));
    }

    #[test]
    fn edit_distance_is_symmetric_and_counts_edits() {
        for (a, b, distance) in
            [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("é", "e", 1), ("ab", "ba", 2)]
        {
            assert_eq!(edit_distance(a, b), distance);
            assert_eq!(edit_distance(b, a), distance);
        }
    }
}
