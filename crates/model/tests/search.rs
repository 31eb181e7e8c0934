//! The search: nothing is found where the rules are kept, and something is where one is broken.

use model::{Bounds, Invariant, Protocol, Rule};

#[test]
fn no_promise_is_broken_whatever_happens_within_the_short_bounds() {
    for bounds in Bounds::SHORT {
        let searched = Protocol::kept(bounds).search();
        println!("{} states: {bounds}", searched.states);
        assert_eq!(searched.violation, None, "{bounds}");
        assert!(searched.is_complete, "{bounds}");
        assert!(20_000 < searched.states, "{bounds}: {}", searched.states);
    }
}

#[test]
fn the_break_of_any_rule_is_found() {
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
fn holders_that_are_not_told_in_time_come_to_believe_side_by_side() {
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

/// What does not hold without the rule.
fn broken_by(rule: Rule) -> &'static str {
    match rule {
        Rule::DeadlineFromTheSend
        | Rule::FirstLifeIsShort
        | Rule::PushesAreDated
        | Rule::UnansweredIsUnknown
        | Rule::NothingShortens
        | Rule::GrantsStand
        | Rule::EndsNameTheOwner
        | Rule::IdsArePerRequest => "LOST",
        Rule::FencesAreRemembered => "FENCE",
        Rule::GrantsUseThePlace | Rule::ArrivalDecides | Rule::TriesDoNotBarge => "FIFO",
        Rule::LooksHandOver
        | Rule::ListenersAreAsked
        | Rule::TheSilentArePassedOver
        | Rule::TheFloor => "WAKE",
        Rule::RenewalsNameTheFence | Rule::RenewalsMakeNothing => "NORENEW",
        Rule::Tombstones
        | Rule::EndsAreRepeated
        | Rule::TheLostAreEnded
        | Rule::OnlyTheProtocolRepeats => "CLEAN",
        Rule::OwnRepeatsAreKnown => "RETRY",
    }
}
