//! The rules of the protocol that the search shows to be needed.

/// A rule, which can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A deadline counts from the sending of the question, not from the answer.
    DeadlineFromTheSend,
    /// A first life is believed as what it is, not as a lease.
    FirstLifeIsShort,
    /// A pushed grant is dated, and not as new as its receipt.
    PushesAreDated,
    /// A renewal that is not answered prolongs nothing.
    UnansweredIsUnknown,
    /// Neither a look nor a renewal shortens a life.
    NothingShortens,
    /// A grant uses up the place in the queue.
    GrantsUseThePlace,
    /// The order of arrival decides.
    ArrivalDecides,
    /// A try leaves a free lock to those who wait.
    TriesDoNotBarge,
    /// Whoever looks at a free lock hands it over.
    LooksHandOver,
    /// It is asked whether somebody listens, before a grant.
    ListenersAreAsked,
    /// Who has not looked for long is passed over.
    TheSilentArePassedOver,
    /// Who has not looked since a grant that lapsed is passed over.
    TheFloor,
    /// A published grant is never taken back.
    GrantsStand,
    /// The last fence outlives the hold.
    FencesAreRemembered,
    /// A renewal names the fence.
    RenewalsNameTheFence,
    /// A renewal makes no hold.
    RenewalsMakeNothing,
    /// An end frees only the request's own hold.
    EndsNameTheOwner,
    /// Each request has an id of its own, rather than its client's.
    IdsArePerRequest,
    /// What is ended while an acquire is unanswered leaves a tombstone.
    Tombstones,
    /// An end is repeated until it is answered.
    EndsAreRepeated,
    /// What was lost is ended as well.
    TheLostAreEnded,
    /// *Not yours*, in answer to one's own repeated end, is no loss.
    OwnRepeatsAreKnown,
    /// Nothing under the protocol sends again.
    OnlyTheProtocolRepeats,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::DeadlineFromTheSend,
        Self::FirstLifeIsShort,
        Self::PushesAreDated,
        Self::UnansweredIsUnknown,
        Self::NothingShortens,
        Self::GrantsUseThePlace,
        Self::ArrivalDecides,
        Self::TriesDoNotBarge,
        Self::LooksHandOver,
        Self::ListenersAreAsked,
        Self::TheSilentArePassedOver,
        Self::TheFloor,
        Self::GrantsStand,
        Self::FencesAreRemembered,
        Self::RenewalsNameTheFence,
        Self::RenewalsMakeNothing,
        Self::EndsNameTheOwner,
        Self::IdsArePerRequest,
        Self::Tombstones,
        Self::EndsAreRepeated,
        Self::TheLostAreEnded,
        Self::OwnRepeatsAreKnown,
        Self::OnlyTheProtocolRepeats,
    ];
}

/// All rules, or all but one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// The one that is broken.
    pub broken: Option<Rule>,
}

impl Rules {
    pub(crate) fn keep(self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }
}
