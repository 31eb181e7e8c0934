//! The search finds no violation with all rules, and one with any rule broken.

use model::{Bounds, Invariant, Protocol, Rule};

#[test]
fn short_search_breaks_no_promise() {
    for bounds in Bounds::SHORT {
        let searched = Protocol::kept(bounds).search();
        println!("{} states: {bounds}", searched.states);
        assert_eq!(searched.violation, None, "{bounds}");
        assert!(searched.is_complete, "{bounds}");
        assert!(20_000 < searched.states, "{bounds}: {}", searched.states);
    }
}

#[test]
fn settled_search_visits_all_settled_states() {
    for bounds in Bounds::SHORT {
        let compared = Protocol::kept(bounds).compare_with_settled();
        assert_eq!(compared.violation, None, "{bounds}");
        assert!(compared.is_complete, "{bounds}");
        assert!(20_000 < compared.states, "{bounds}: {}", compared.states);
    }
}

#[test]
fn settled_search_finds_every_independent_broken_rule() {
    for rule in Rule::ALL {
        let searched = Protocol::with_broken(rule).settled().search();
        let rests_on_it = matches!(
            rule,
            Rule::DeadlineFromTheSend
                | Rule::FencesAreRemembered
                | Rule::RenewalsNameTheFence
                | Rule::RenewalsMakeNothing
                | Rule::EndsAreRepeated
                | Rule::OwnRepeatsAreKnown
        );
        assert_eq!(searched.violation.is_none(), rests_on_it, "{rule:?}");
    }
}

#[test]
fn every_broken_rule_is_found() {
    for rule in Rule::ALL {
        let searched = Protocol::with_broken(rule).search();
        println!(
            "{rule:?}: {:?}",
            searched.violation.as_ref().map(ToString::to_string)
        );
        let violation = searched.violation.map(|violation| violation.invariant);
        assert_eq!(violation, Some(broken_by(rule)), "{rule:?}");
    }
}

#[test]
fn late_loss_reports_lead_to_overlapping_holds() {
    let untold = Rule::ALL
        .into_iter()
        .filter(|rule| broken_by(*rule) == "LOST");
    for rule in untold {
        let beyond = Protocol::with_broken(rule).ignoring(Invariant::Lost);
        let violation = beyond.search().violation.unwrap();
        println!("{rule:?}: {violation}");
        let expected = match rule {
            Rule::IdsArePerRequest => "CLEAN",
            _ => "MUTEX",
        };
        assert_eq!(violation.invariant, expected, "{rule:?}");
    }
}

/// Returns the invariant that fails without the rule.
fn broken_by(rule: Rule) -> &'static str {
    match rule {
        Rule::DeadlineFromTheSend
        | Rule::ProvisionalTtlIsShort
        | Rule::PushesAreDated
        | Rule::UnansweredIsUnknown
        | Rule::NothingShortens
        | Rule::GrantsStand
        | Rule::EndsNameTheOwner
        | Rule::IdsArePerRequest => "LOST",
        Rule::FencesAreRemembered => "FENCE",
        Rule::GrantsUseThePlace | Rule::ArrivalDecides | Rule::TriesDoNotBarge => "FIFO",
        Rule::PollsHandOff
        | Rule::ListenersAreAsked
        | Rule::SilentWaitersAreSkipped
        | Rule::LivenessCutoff => "WAKE",
        Rule::RenewalsNameTheFence | Rule::RenewalsMakeNothing => "NORENEW",
        Rule::Tombstones
        | Rule::EndsAreRepeated
        | Rule::LostHoldsAreEnded
        | Rule::OnlyTheProtocolRepeats => "CLEAN",
        Rule::OwnRepeatsAreKnown => "RETRY",
    }
}
