//! Reads the source tree, for checks of its structure. Not published.

mod imports;
mod lexer;
mod phrases;
mod prose;
mod sentences;
mod source;

pub use imports::{Imports, circles, imports};
pub use lexer::Item;
pub use phrases::{Hit, hits};
pub use prose::{Kind, Prose, of_file, prose};
pub use sentences::first_sentence_hit;
pub use source::{Source, code_lines, sources};
