//! What happens when, by chance from one seed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::chance::Chance;

/// What is done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, SIGCONT after so long, and SIGKILL a little later: what it began before it froze, it goes on with.
    Freeze(Duration),
    /// SIGKILL at the very first start of another, empty installation, which must start all the same afterwards.
    FirstStart,
}

/// When it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// So long after the process was started, whatever it is doing then.
    AfterStart(Duration),
    /// So long after it began to listen.
    AfterReady(Duration),
}

/// One round.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    /// Which of the nodes.
    pub(crate) node: usize,
    pub(crate) blow: Blow,
    pub(crate) moment: Moment,
    /// What the tenant does wrong meanwhile.
    pub(crate) faults: Vec<Value>,
}

/// Code of a refusal that is for good.
pub(crate) const FOR_GOOD: &str = "ErrorInvalidRecipients";

/// The next round.
pub(crate) fn round(chance: &Chance, nodes: usize) -> Round {
    let node = usize::try_from(chance.within(0..nodes as u64)).unwrap_or_default();
    let blow = match chance.within(0..20) {
        0 => Blow::FirstStart,
        1 | 2 => Blow::Freeze(chance.millis(50..800)),
        _ => Blow::Kill,
    };
    let moment = match chance.within(0..10) {
        0..2 => Moment::AfterStart(chance.millis(0..120)),
        2..7 => Moment::AfterReady(chance.millis(0..300)),
        _ => Moment::AfterReady(chance.millis(300..900)),
    };
    let faults = (0..chance.within(2..8)).map(|_| fault(chance)).collect();
    Round { node, blow, moment, faults }
}

/// One fault of the tenant. `skip` spreads them over the round.
fn fault(chance: &Chance) -> Value {
    let mut fault = match chance.within(0..15) {
        0 => json!({"status": 429, "retry_after": 1}),
        1 => json!({"status": 429, "retry_after": 1, "path_contains": "/messages"}),
        2 => json!({"status": 503}),
        3 => json!({"status": 503, "retry_after": 1, "path_contains": "/send"}),
        // The work is done, and the answer says that it may not have been.
        4 | 5 => json!({"status": 504, "after": true, "path_contains": "/send"}),
        6 => json!({"status": 504, "path_contains": "/send"}),
        7 => json!({"cut": true, "after": true, "path_contains": "/send"}),
        8 => json!({"cut": true, "path_contains": "/send"}),
        // The draft is made, and nobody hears of it.
        9 => json!({"cut": true, "after": true, "method": "POST", "path_contains": "/messages"}),
        10 => json!({"status": 504, "after": true, "method": "POST", "path_contains": "/messages"}),
        // The answer comes so late that the node dies waiting for it.
        11 => {
            json!({"after": true, "status": 202, "delay_ms": chance.within(100..1_500), "path_contains": "/send"})
        }
        12 => json!({"half": true, "path_contains": *chance.one_of(&["$value", "/delta"])}),
        13 => {
            json!({"delay_ms": chance.within(50..600), "path_contains": *chance.one_of(&["$value", "/delta"])})
        }
        _ => json!({"status": 400, "code": FOR_GOOD, "method": "POST", "path_contains": "/messages"}),
    };
    fault["skip"] = json!(chance.within(0..12));
    fault["count"] = json!(chance.within(1..3));
    fault
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_gives_the_same_rounds_and_two_hundred_have_every_blow_and_every_fault() {
        let rounds = |seed| {
            let chance = Chance::new(seed);
            (0..200).map(|_| round(&chance, 2)).collect::<Vec<Round>>()
        };
        assert_eq!(format!("{:?}", rounds(1)), format!("{:?}", rounds(1)));
        let all = rounds(1);
        assert!(all.iter().any(|round| round.blow == Blow::Kill && round.node == 1));
        assert!(all.iter().any(|round| round.blow == Blow::FirstStart));
        assert!(all.iter().any(|round| matches!(round.blow, Blow::Freeze(_))));
        let statuses: BTreeSet<u64> =
            all.iter().flat_map(|round| &round.faults).filter_map(|fault| fault["status"].as_u64()).collect();
        assert_eq!(statuses, BTreeSet::from([202, 400, 429, 503, 504]));
        assert!(all.iter().flat_map(|round| &round.faults).any(|fault| fault["cut"] == true));
    }
}
