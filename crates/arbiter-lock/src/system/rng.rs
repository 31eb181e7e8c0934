//! The random generator of request ids and the lengths of pauses.

use std::cell::RefCell;
use std::io::Write as _;
use std::sync::Arc;

use rand::RngExt as _;
use rand::distr::{Distribution, StandardUniform};
use rand::rngs::ThreadRng;

use crate::system::process::ForkGeneration;

/// Draws a random value. On a thread that a test has seeded, it is deterministic.
pub(crate) fn draw<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    #[cfg(feature = "testing")]
    if let Some(drawn) = seeded::draw() {
        return drawn;
    }
    rng().random()
}

/// Draws an id: 128 random bits in hexadecimal digits.
pub(crate) fn draw_id() -> Arc<str> {
    // On the stack, since an id is drawn for every acquire.
    let mut digits = [0; 32];
    let written = write!(&mut digits[..], "{:032x}", draw::<u128>());
    written.expect("room for 128 bits");
    std::str::from_utf8(&digits).expect("digits").into()
}

/// Returns the generator of this thread, seeded in this process. A copy of the parent's would draw
/// the same request ids.
fn rng() -> ThreadRng {
    thread_local! {
        static SEEDED_IN: RefCell<Option<ForkGeneration>> = const { RefCell::new(None) };
    }
    let mut rng = rand::rng();
    let is_seeded = |seeded_in: &Option<ForkGeneration>| {
        seeded_in.as_ref().is_some_and(ForkGeneration::is_current)
    };
    if !SEEDED_IN.with_borrow(is_seeded) {
        // Even at first, since other code may have drawn from it before the fork.
        rng.reseed().expect("`rand::rng` needs the same");
        SEEDED_IN.set(Some(ForkGeneration::current()));
    }
    rng
}

#[cfg(feature = "testing")]
pub(crate) mod seeded {
    use std::cell::RefCell;

    use rand::distr::{Distribution, StandardUniform};
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    thread_local! {
        static SEEDED: RefCell<Option<StdRng>> = const { RefCell::new(None) };
    }

    /// Seeds this thread.
    pub(crate) fn seed(seed: u64) {
        SEEDED.set(Some(StdRng::seed_from_u64(seed)));
    }

    pub(super) fn draw<T>() -> Option<T>
    where
        StandardUniform: Distribution<T>,
    {
        SEEDED.with_borrow_mut(|rng| rng.as_mut().map(|rng| rng.random()))
    }

    /// Returns whether this thread has a seed.
    pub(crate) fn is_seeded() -> bool {
        SEEDED.with_borrow(Option::is_some)
    }
}
