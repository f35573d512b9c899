//! The keys of one architecture, read and checked.

use core::fmt::Write;

use stonechat_gguf::{Gguf, Name, Value};

use crate::Error;

/// A key or a tensor's name in full: names are short constants and layers few, so that it always fits.
pub(crate) type Path = heapless::String<64>;

/// More layers than any model has; keeps what is computed from them in bounds.
pub(super) const MOST_LAYERS: usize = 4096;
/// Wider than any model; likewise.
pub(super) const MOST_WIDTH: usize = 1 << 24;
/// More experts than any model has; likewise.
pub(super) const MOST_EXPERTS: usize = 1 << 16;

/// The keys of one architecture in a file.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'g, 'a> {
    pub(super) gguf: &'g Gguf<'a>,
    pub(super) prefix: &'static str,
}

impl<'a> Keys<'_, 'a> {
    #[inline(never)]
    fn path(&self, key: &str) -> Path {
        let mut path = Path::new();
        let _ = write!(path, "{}.{key}", self.prefix);
        path
    }

    /// The error that a key has a value that it must not have.
    #[cold]
    #[inline(never)]
    pub(crate) fn bad(&self, key: &str, expected: &'static str) -> Error {
        Error::BadValue { key: Name::new(&self.path(key)), expected }
    }

    /// The error that a key is not there.
    #[cold]
    #[inline(never)]
    pub(super) fn missing(&self, key: &str) -> Error {
        match self.gguf.u32(&self.path(key)) {
            Err(error) => error.into(),
            Ok(_) => self.bad(key, "there"),
        }
    }

    /// Whether the file has a tensor.
    pub(crate) fn has_tensor(&self, name: &str) -> bool {
        self.gguf.tensor(name).is_some()
    }

    /// Refuses a file with a tensor that nothing reads.
    pub(crate) fn lacks(&self, name: &str) -> Result<(), Error> {
        if self.has_tensor(name) { Err(Error::StrayTensor(Name::new(name))) } else { Ok(()) }
    }

    #[inline(never)]
    pub(crate) fn bool(&self, key: &str) -> Result<bool, Error> {
        Ok(self.gguf.bool(&self.path(key))?)
    }

    #[inline(never)]
    pub(crate) fn opt_bool(&self, key: &str) -> Result<Option<bool>, Error> {
        Ok(self.gguf.opt_bool(&self.path(key))?)
    }

    #[inline(never)]
    pub(crate) fn opt_u32(&self, key: &str) -> Result<Option<u32>, Error> {
        Ok(self.gguf.opt_u32(&self.path(key))?)
    }

    pub(super) fn gguf_f32(&self, key: &str) -> Result<f32, Error> {
        Ok(self.gguf.f32(&self.path(key))?)
    }

    pub(crate) fn opt_str(&self, key: &str) -> Result<Option<&'a str>, Error> {
        Ok(self.gguf.opt_str(&self.path(key))?)
    }

    /// The layers that compute: those that only predict further tokens come last, and are left out.
    pub(crate) fn layers(&self) -> Result<usize, Error> {
        let all = self.size("block_count", MOST_LAYERS)?;
        let predicting = self.opt_u32("nextn_predict_layers")?.unwrap_or(0) as usize;
        match all.checked_sub(predicting) {
            Some(layers) if layers > 0 => Ok(layers),
            _ => Err(self.bad("nextn_predict_layers", "less than block_count")),
        }
    }

    /// A size, at least 1.
    #[inline(never)]
    pub(super) fn size(&self, key: &str, most: usize) -> Result<usize, Error> {
        self.checked(key, self.gguf.u32(&self.path(key))?, most)
    }

    #[inline(never)]
    pub(super) fn opt_size(&self, key: &str, most: usize) -> Result<Option<usize>, Error> {
        self.opt_u32(key)?.map(|value| self.checked(key, value, most)).transpose()
    }

    /// A size that may be 0, which is no size.
    #[inline(never)]
    pub(super) fn opt_nonzero(&self, key: &str, most: usize) -> Result<Option<usize>, Error> {
        match self.opt_u32(key)? {
            None | Some(0) => Ok(None),
            Some(value) => self.checked(key, value, most).map(Some),
        }
    }

    #[inline(never)]
    fn checked(&self, key: &str, value: u32, most: usize) -> Result<usize, Error> {
        match value as usize {
            0 => Err(self.bad(key, "at least 1")),
            value if value > most => Err(self.bad(key, "of a size that a model can have")),
            value => Ok(value),
        }
    }

    /// A value of a layer: that of an array, or the one for all.
    #[inline(never)]
    fn in_layer(&self, key: &str, layer: usize) -> Result<Option<Value<'a>>, Error> {
        let Some(value) = self.gguf.get(&self.path(key)) else { return Ok(None) };
        let Some(array) = value.as_array() else { return Ok(Some(value)) };
        array.get(layer).map(Some).ok_or(self.bad(key, "an array of a value for each layer"))
    }

    /// A size of a layer, at least 1.
    #[inline(never)]
    pub(super) fn opt_size_in(&self, key: &str, layer: usize, most: usize) -> Result<Option<usize>, Error> {
        match self.in_layer(key, layer)? {
            None => Ok(None),
            Some(value) => match value.as_u32() {
                Some(value) => self.checked(key, value, most).map(Some),
                None => Err(self.bad(key, "a number, or an array of numbers")),
            },
        }
    }

    /// Whether a size of a layer is there and 0.
    pub(super) fn is_0_in(&self, key: &str, layer: usize) -> Result<bool, Error> {
        Ok(self.in_layer(key, layer)?.is_some_and(|value| value.as_u32() == Some(0)))
    }

    /// Whether a layer is one of those that `key` names, if it names layers and not a period.
    pub(super) fn opt_flag_in(&self, key: &str, layer: usize) -> Result<Option<bool>, Error> {
        match self.in_layer(key, layer)? {
            None => Ok(None),
            Some(value) => match (value.as_bool(), value.as_u32()) {
                (Some(flag), _) => Ok(Some(flag)),
                (None, Some(number)) if number < 2 => Ok(Some(number == 1)),
                _ => Err(self.bad(key, "an array of booleans")),
            },
        }
    }

    /// Whether the value of `key` is an array.
    pub(super) fn is_array(&self, key: &str) -> bool {
        self.gguf.get(&self.path(key)).is_some_and(|value| value.as_array().is_some())
    }

    /// A number of a layer, whose key has no prefix.
    pub(super) fn float_of_all_in(&self, key: &'static str, layer: usize) -> Result<f32, Error> {
        let value = match self.gguf.get(key) {
            Some(value) => match value.as_array() {
                Some(array) => array.get(layer),
                None => Some(value),
            },
            None => None,
        };
        match value.and_then(|value| value.as_f64()) {
            Some(value) if (value as f32).is_finite() => Ok(value as f32),
            _ => Err(Error::BadValue { key: Name::new(key), expected: "a finite number for each layer" }),
        }
    }

    /// A finite number.
    #[inline(never)]
    pub(super) fn opt_float(&self, key: &str) -> Result<Option<f32>, Error> {
        match self.gguf.opt_f32(&self.path(key))? {
            Some(value) if !value.is_finite() => Err(self.bad(key, "a finite number")),
            value => Ok(value),
        }
    }

    /// A positive number.
    #[inline(never)]
    pub(super) fn positive(&self, key: &str) -> Result<Option<f32>, Error> {
        match self.opt_float(key)? {
            Some(value) if value <= 0.0 => Err(self.bad(key, "a positive number")),
            value => Ok(value),
        }
    }

    /// A number that may be 0, for what is not done.
    #[inline(never)]
    pub(super) fn at_least_0(&self, key: &str) -> Result<f32, Error> {
        match self.opt_float(key)? {
            Some(value) if value < 0.0 => Err(self.bad(key, "a positive number, or 0")),
            value => Ok(value.unwrap_or(0.0)),
        }
    }
}
