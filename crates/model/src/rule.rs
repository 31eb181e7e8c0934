//! The rules of the protocol that the search shows to be needed.

/// A rule, which can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A deadline counts from the time of the question, not of the answer.
    DeadlineFromTheSend,
    /// A provisional TTL does not count as a lease.
    ProvisionalTtlIsShort,
    /// A pushed grant has its own date, not that of its receipt.
    PushesAreDated,
    /// A renewal that is not answered extends nothing.
    UnansweredIsUnknown,
    /// Neither a poll nor a renewal shortens a TTL.
    NothingShortens,
    /// A grant consumes the place in the queue.
    GrantsUseThePlace,
    /// The order of arrival decides.
    ArrivalDecides,
    /// A try leaves a free lock to the waiters.
    TriesDoNotBarge,
    /// Each poll of a free lock hands off.
    PollsHandOff,
    /// A grant needs a listener on the waiter's channel.
    ListenersAreAsked,
    /// A waiter that has not polled for long is skipped.
    SilentWaitersAreSkipped,
    /// A waiter that has not polled since an expired grant is skipped.
    LivenessCutoff,
    /// A published grant is never taken back.
    GrantsStand,
    /// The last fence outlives the hold.
    FencesAreRemembered,
    /// A renewal names the fence.
    RenewalsNameTheFence,
    /// A renewal creates no hold.
    RenewalsMakeNothing,
    /// An end frees only the request's own hold.
    EndsNameTheOwner,
    /// Each request has an id of its own, rather than its client's.
    IdsArePerRequest,
    /// A request that is ended while an acquire is unanswered leaves a tombstone.
    Tombstones,
    /// An end is repeated until it is answered.
    EndsAreRepeated,
    /// A lost hold is ended as well.
    LostHoldsAreEnded,
    /// *Not yours*, in answer to a repeated end, is no loss.
    OwnRepeatsAreKnown,
    /// Only the protocol repeats a message.
    OnlyTheProtocolRepeats,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 23] = [
        Self::DeadlineFromTheSend,
        Self::ProvisionalTtlIsShort,
        Self::PushesAreDated,
        Self::UnansweredIsUnknown,
        Self::NothingShortens,
        Self::GrantsUseThePlace,
        Self::ArrivalDecides,
        Self::TriesDoNotBarge,
        Self::PollsHandOff,
        Self::ListenersAreAsked,
        Self::SilentWaitersAreSkipped,
        Self::LivenessCutoff,
        Self::GrantsStand,
        Self::FencesAreRemembered,
        Self::RenewalsNameTheFence,
        Self::RenewalsMakeNothing,
        Self::EndsNameTheOwner,
        Self::IdsArePerRequest,
        Self::Tombstones,
        Self::EndsAreRepeated,
        Self::LostHoldsAreEnded,
        Self::OwnRepeatsAreKnown,
        Self::OnlyTheProtocolRepeats,
    ];
}

/// All rules, or all but one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// The broken rule.
    pub broken: Option<Rule>,
}

impl Rules {
    pub(crate) fn keep(self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }
}
