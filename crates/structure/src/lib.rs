//! Reads the source tree, for checks of its structure. Not published.

mod imports;
mod source;

pub use imports::{Imports, circles, imports};
pub use source::{Source, code_lines, sources};
