//! Where the program keeps its files: the models that it pulled.
//!
//! `STONECHAT_HOME` if set, else `stonechat` in the user's data folder (`XDG_DATA_HOME`, or `.local/share` in the
//! home folder). Nothing is created until something is to be stored.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::manifest::Manifest;

/// The program's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    folder: PathBuf,
}

impl Home {
    /// The folder that the environment names.
    pub fn locate() -> Result<Self, Error> {
        Self::from_variables(|name| env::var_os(name))
    }

    /// This very folder.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // The XDG specification asks to ignore relative paths.
        let absolute = |path: &PathBuf| path.is_absolute();
        path("STONECHAT_HOME")
            .or_else(|| Some(path("XDG_DATA_HOME").filter(absolute)?.join("stonechat")))
            .or_else(|| Some(path("HOME").filter(absolute)?.join(".local/share/stonechat")))
            .map(Self::at)
            .ok_or(Error::NoHome)
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of the models. It may not exist yet.
    pub fn models(&self) -> PathBuf {
        self.folder.join("models")
    }

    /// The folder of the prompt cache. It may not exist yet.
    pub fn prompts(&self) -> PathBuf {
        self.folder.join("prompts")
    }

    /// Where a model is once it has been pulled.
    pub fn model(&self, manifest: &Manifest) -> PathBuf {
        self.models().join(&manifest.file)
    }

    /// The file of a model that has been pulled. One of another size is not it: somebody cut it or put it there.
    pub fn pulled(&self, manifest: &Manifest) -> Option<PathBuf> {
        let path = self.model(manifest);
        let whole = fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() == manifest.size);
        whole.then_some(path)
    }

    /// The folder of the models, made if it does not exist.
    pub fn create_models(&self) -> Result<PathBuf, Error> {
        let models = self.models();
        fs::create_dir_all(&models).map_err(|source| Error::NoFolder { path: models.clone(), source })?;
        Ok(models)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(variables: &[(&str, &str)]) -> Result<Home, Error> {
        Home::from_variables(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_environment_names_the_folder_in_this_order() {
        let all = [("STONECHAT_HOME", "here"), ("XDG_DATA_HOME", "/data"), ("HOME", "/home/me")];
        assert_eq!(located(&all).unwrap(), Home::at("here"));
        assert_eq!(located(&all[1..]).unwrap(), Home::at("/data/stonechat"));
        assert_eq!(located(&all[2..]).unwrap(), Home::at("/home/me/.local/share/stonechat"));
        assert_eq!(
            located(&[("STONECHAT_HOME", ""), ("XDG_DATA_HOME", "relative"), all[2]]).unwrap(),
            Home::at("/home/me/.local/share/stonechat")
        );
        assert!(matches!(located(&[]), Err(Error::NoHome)));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_said_in_one_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Home::at(&file).create_models().unwrap_err();
        let models = file.join("models");
        assert_eq!(
            error.to_string(),
            format!(
                "cannot create the folder {}: Not a directory; set STONECHAT_HOME to a folder that you may write to",
                models.display()
            )
        );
        assert!(Home::at(folder.path()).create_models().unwrap().is_dir());
    }
}
