//! A conversation on disk, with the engine's state: going on with it reads nothing again.
//!
//! A file may come from anybody: what it says is checked before any of it counts.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Chat;
use super::talk::Talk;
use crate::Error;
use crate::output::Durability;
use crate::state::{self, Keep, Kept, Key, Problem};

/// What a saved conversation says beside its tokens.
#[derive(Serialize, Deserialize)]
struct Note {
    talk: Talk,
    shifted: Option<usize>,
    begins: Option<usize>,
    /// Mirostat's limit.
    limit: f32,
}

impl Note {
    /// What no conversation can say that has so many tokens.
    fn problem(&self, tokens: usize) -> Option<Problem> {
        let turns = self.talk.turns.len();
        if !self.talk.is_sound() {
            Some(Problem::Impossible("its turns do not fit together"))
        } else if self.shifted.is_some_and(|at| at > tokens) || self.begins.is_some_and(|at| at > turns) {
            Some(Problem::Impossible("it begins beyond its end"))
        } else if !self.limit.is_finite() {
            Some(Problem::Impossible("mirostat's limit is no number"))
        } else {
            None
        }
    }
}

impl Chat<'_> {
    /// Saves the conversation with the engine's state, whole or not at all. Returns the length of the file in bytes.
    #[allow(clippy::missing_panics_doc, reason = "text is always JSON")]
    pub fn save(&self, path: &Path) -> Result<u64, Error> {
        let session = self.engine.session();
        let limit = self.sampler.mirostat_limit();
        let note = Note { talk: self.talk.clone(), shifted: self.shifted, begins: self.begins, limit };
        let note = serde_json::to_vec(&note).expect("a conversation is text");
        let fed = &self.tokens[..session.position()];
        let keep = Keep { key: Key::of(session), position: 0, tokens: fed, note: &note };
        state::write(path, &keep, session, Durability::Synced)
    }

    /// Takes up a conversation that was saved, in place of this one. On an error this one goes on, though its
    /// tokens may have to be read again.
    pub fn load(&mut self, path: &Path) -> Result<(), Error> {
        let kept = Kept::open(path, &Key::of(self.engine.session()))?;
        let refused = |problem| Error::State { path: path.to_path_buf(), problem };
        let note: Note = serde_json::from_slice(kept.note())
            .map_err(|_| refused(Problem::Impossible("there is no conversation in it")))?;
        let known = self.engine.model().hyperparameters().vocabulary;
        if kept.position() != 0 {
            return Err(refused(Problem::Impossible("it does not begin at the beginning")));
        }
        if kept.tokens().iter().any(|token| *token as usize >= known) {
            return Err(refused(Problem::Impossible("it has tokens that the model has not")));
        }
        if let Some(problem) = note.problem(kept.tokens().len()) {
            return Err(refused(problem));
        }
        // A longer conversation than this context holds is read anew, as far as it fits.
        let tokens = kept.tokens().to_vec();
        self.forget_tokens();
        if tokens.len() < self.engine.session().context() {
            let taken = tokens.len();
            self.engine.with_session(|session| kept.restore(session, taken))?;
            (self.tokens, self.shifted, self.begins) = (tokens, note.shifted, note.begins);
        }
        self.talk = note.talk;
        self.sampler.set_mirostat_limit(note.limit);
        Ok(())
    }
}
