//! The labels of all series, which are static so that no lookup allocates, and their descriptions.

use metrics::{Label, Unit};

use super::quietly;
use crate::primitives::primitive::Primitive;

/// Makes one list of labels for each value of the second label, within each primitive.
macro_rules! labels {
    ($second:literal, $values:tt) => {
        [
            labels!(@row "lock", $second, $values),
            labels!(@row "rw_read", $second, $values),
            labels!(@row "rw_write", $second, $values),
            labels!(@row "semaphore", $second, $values),
            labels!(@row "election", $second, $values),
            labels!(@row "once", $second, $values),
        ]
    };
    (@row $primitive:literal, $second:literal, [$($value:literal),*]) => {
        [$([
            Label::from_static_parts("primitive", $primitive),
            Label::from_static_parts($second, $value),
        ]),*]
    };
}

pub(super) type LabelTable<const VALUES: usize> = [[[Label; 2]; VALUES]; 6];

#[rustfmt::skip]
pub(super) static ACQUIRES: LabelTable<8> = labels!("outcome", [
    "granted", "contended", "deadlock", "unavailable", "refused", "invalid", "closed", "dropped"
]);
pub(super) static RENEWALS: LabelTable<3> = labels!("outcome", ["renewed", "refused", "failed"]);
#[rustfmt::skip]
pub(super) static LOSSES: LabelTable<8> = labels!("reason", [
    "expired", "taken", "deleted", "unreachable", "not_renewed", "max_hold", "shutdown", "revoked"
]);
static CALLS: [[Label; 1]; 2] = [
    [Label::from_static_parts("outcome", "answered")],
    [Label::from_static_parts("outcome", "failed")],
];

/// Returns the labels of a metric with no other label than the primitive.
pub(super) fn primitive_labels(primitive: Primitive) -> &'static [Label] {
    &ACQUIRES[primitive as usize][0][..1]
}

/// Returns the labels of a call that renews holds.
pub(super) fn call_labels(outcome: &str) -> &'static [Label] {
    let labels = CALLS.iter().find(|labels| labels[0].value() == outcome);
    labels.map_or(&[], |labels| labels)
}

/// Returns the labels of a primitive with that second value.
pub(super) fn labels_in<const VALUES: usize>(
    table: &'static LabelTable<VALUES>,
    primitive: Primitive,
    value: &str,
) -> &'static [Label] {
    let mut rows = table[primitive as usize].iter();
    let labels = rows.find(|labels| labels[1].value() == value);
    labels.map_or(&[], |labels| labels)
}

/// Describes all metrics to the recorder, for the help texts of an exporter.
pub(crate) fn describe() {
    let counters = [
        ("arbiter_acquires_total", "Acquires that ended, by outcome"),
        ("arbiter_handoffs_total", "Grants delivered as a message"),
        ("arbiter_releases_total", "Releases that were confirmed"),
        ("arbiter_losses_total", "Holds that were lost, by reason"),
        ("arbiter_renewals_total", "Renewals of holds, by outcome"),
        ("arbiter_left_behind_total", "Requests left to expire"),
        ("arbiter_disconnects_total", "Connections that were lost"),
        ("arbiter_reconnects_total", "Connections that were replaced"),
        ("arbiter_events_dropped_total", "Events that were dropped"),
    ];
    let gauges = [
        ("arbiter_waiting", "Acquires in progress"),
        ("arbiter_held", "Holds of this process"),
    ];
    let times = [
        ("arbiter_wait_seconds", "Duration of an acquire, by outcome"),
        ("arbiter_hold_seconds", "Time from a grant to its end"),
        ("arbiter_renewal_seconds", "Duration of a call that renews"),
    ];
    quietly(|recorder| {
        for (name, text) in counters {
            recorder.describe_counter(name.into(), Some(Unit::Count), text.into());
        }
        for (name, text) in gauges {
            recorder.describe_gauge(name.into(), Some(Unit::Count), text.into());
        }
        for (name, text) in times {
            recorder.describe_histogram(name.into(), Some(Unit::Seconds), text.into());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::lost_reason::LostReason;

    #[test]
    fn each_value_has_its_own_labels() {
        for primitive in [
            Primitive::Lock,
            Primitive::RwRead,
            Primitive::RwWrite,
            Primitive::Semaphore,
            Primitive::Election,
            Primitive::Once,
        ] {
            let is_of_it = |labels: &[Label]| labels[0].value() == primitive.word();
            assert!(is_of_it(primitive_labels(primitive)));
            for outcome in ["granted", "contended", "dropped", "closed"] {
                let labels = labels_in(&ACQUIRES, primitive, outcome);
                assert!(is_of_it(labels) && labels[1].value() == outcome);
            }
            for reason in [
                LostReason::Expired,
                LostReason::Taken,
                LostReason::Deleted,
                LostReason::Unreachable,
                LostReason::NotRenewed,
                LostReason::MaxHold,
                LostReason::Shutdown,
                LostReason::Revoked,
            ] {
                let labels = labels_in(&LOSSES, primitive, reason.word());
                assert!(is_of_it(labels) && labels[1].value() == reason.word());
            }
        }
    }
}
