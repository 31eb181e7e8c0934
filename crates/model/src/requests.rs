//! Requests, and sets of them.

/// The id of a request, which the store knows: its client, and its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    pub(crate) client: u8,
    pub(crate) number: u8,
}

/// Displays the first client's second request as `A2`.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", char::from(b'A' + self.client), self.number + 1)
    }
}

/// Some requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Requests(u16);

impl Requests {
    fn bit(of: Request) -> u16 {
        1 << (of.client * 4 + of.number)
    }

    pub(crate) fn insert(&mut self, of: Request) {
        self.0 |= Self::bit(of);
    }

    /// Removes a request; returns whether the set had it.
    pub(crate) fn remove(&mut self, of: Request) -> bool {
        let was_there = self.contains(of);
        self.0 &= !Self::bit(of);
        was_there
    }

    pub(crate) fn contains(self, of: Request) -> bool {
        self.0 & Self::bit(of) != 0
    }

    fn all(self) -> impl Iterator<Item = Request> {
        let each = (0..4).flat_map(|client| (0..4).map(move |number| Request { client, number }));
        each.filter(move |of| self.contains(*of))
    }

    pub(crate) fn renamed(self, rename: impl Fn(Request) -> Request) -> Self {
        self.all().map(rename).collect()
    }

    pub(crate) fn retain(&mut self, is_kept: impl Fn(Request) -> bool) {
        *self = self.all().filter(|of| is_kept(*of)).collect();
    }
}

impl FromIterator<Request> for Requests {
    fn from_iter<I: IntoIterator<Item = Request>>(requests: I) -> Self {
        let mut all = Self::default();
        requests.into_iter().for_each(|of| all.insert(of));
        all
    }
}
