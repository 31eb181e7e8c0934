//! The name of a resource.

use std::fmt;

/// The name of a resource: any non-empty string of at most 512 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(std::sync::Arc<str>);

/// The reason why a string is not a valid name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// The string is empty.
    Empty,
    /// The string has this many bytes; at most [`Name::MAX_BYTES`] are allowed.
    TooLong(usize),
}

impl Name {
    /// The maximum length of a name, in bytes.
    pub const MAX_BYTES: usize = 512;

    /// Creates a name from a string.
    ///
    /// # Errors
    /// The string is empty, or longer than [`Name::MAX_BYTES`].
    pub fn new(text: &str) -> Result<Self, NameError> {
        match text.len() {
            0 => Err(NameError::Empty),
            n if Self::MAX_BYTES < n => Err(NameError::TooLong(n)),
            _ => Ok(Self(text.into())),
        }
    }

    /// Returns the name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&Name> for std::sync::Arc<str> {
    fn from(name: &Name) -> Self {
        name.0.clone()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a name has 1 to 512 bytes, and this one is empty"),
            Self::TooLong(n) => write!(f, "a name has 1 to 512 bytes, and this one has {n}"),
        }
    }
}

impl std::error::Error for NameError {}
