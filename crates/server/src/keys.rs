//! The keys of those who may ask.
//!
//! In: keys as they were given. Kept are only their hashes, so that no key lies in memory or in a core dump; a key that comes is
//! compared in a time that tells nothing of how near it came.

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The shortest key: less can be guessed.
pub const SHORTEST: usize = 8;

/// Keys, hashed. See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(Vec<[u8; 32]>);

impl Keys {
    /// Takes another key. An error where it could be guessed, or not be sent.
    pub fn add(&mut self, key: &str) -> Result<(), String> {
        if key.len() < SHORTEST {
            return Err(format!(
                "a key has to have {SHORTEST} characters or more; make one with 'openssl rand -hex 24'"
            ));
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(
                "a key may have no blanks and ASCII characters alone; make one with 'openssl rand -hex 24'"
                    .into(),
            );
        }
        self.0.push(Sha256::digest(key).into());
        Ok(())
    }

    /// Whether there are none, so that all may ask.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of these keys came with a request: as `Authorization: Bearer KEY`, or `X-Api-Key: KEY`. Without keys nobody has
    /// to have one.
    pub fn allow(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        if self.is_empty() {
            return Ok(());
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text(header::AUTHORIZATION.as_str()).and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
        let Some(key) = bearer.or_else(|| text("x-api-key")) else {
            return Err("a key is needed; send it as 'Authorization: Bearer KEY'");
        };
        if self.contains(key) { Ok(()) } else { Err("this key is not one of the server's; check it") }
    }

    fn contains(&self, key: &str) -> bool {
        let hash: [u8; 32] = Sha256::digest(key).into();
        // All are compared, whichever it is.
        self.0.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&hash)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
    }

    #[test]
    fn a_request_needs_one_of_the_keys_where_there_are_any() {
        let mut keys = Keys::default();
        assert_eq!(keys.allow(&HeaderMap::new()), Ok(()));
        keys.add("first-key").unwrap();
        keys.add("second-key").unwrap();
        assert_eq!(keys.allow(&headers("authorization", "Bearer second-key")), Ok(()));
        assert_eq!(keys.allow(&headers("authorization", "bearer first-key")), Ok(()));
        assert_eq!(keys.allow(&headers("x-api-key", "first-key")), Ok(()));
        for wrong in ["Bearer first-ke", "Bearer first-key2", "Basic first-key", "first-key", "Bearer "] {
            assert!(keys.allow(&headers("authorization", wrong)).is_err(), "{wrong}");
        }
        assert!(keys.allow(&HeaderMap::new()).unwrap_err().starts_with("a key is needed"));
    }

    #[test]
    fn no_key_is_kept_and_none_is_taken_that_could_be_guessed() {
        let mut keys = Keys::default();
        keys.add("a-secret-key").unwrap();
        assert!(!format!("{keys:?}").contains("secret"));
        assert!(
            keys.add("short").is_err() && keys.add("with a blank").is_err() && keys.add("schlüssel").is_err()
        );
    }
}
