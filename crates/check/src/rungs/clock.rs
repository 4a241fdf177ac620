//! The clock of this machine against that of the sign-in host.

use postroom_model::Env;
use postroom_model::connection::AuthenticationFlow;

use super::network::{self, Reach};
use super::{Means, nothing_to_go_on};
use crate::finding::Finding;
use crate::ladder::Probed;
use crate::{CheckRequest, Verdict};

/// Seconds that nobody minds.
const FINE: u64 = 30;
/// Seconds beyond which an assertion signed here is refused there.
const TOO_MUCH: u64 = 120;

/// Asks the sign-in host, or where nobody signs in there the server of the mail, and compares the clocks; the answer is
/// gone on with in the rung of the network. IMAP and SMTP tell no time.
pub(crate) async fn probe(request: &CheckRequest, means: Option<&Means>, env: &Env) -> Probed<Reach> {
    let Some(means) = means else { return nothing_to_go_on().into() };
    let Some(asked) = network::clock(request, means.service) else {
        return Finding::skipped(format!(
            "Not checked, because {} tells no time, and nothing depends on it.",
            means.service.way.label()
        ))
        .into();
    };
    let reach = network::reach(&means.http, &asked).await;
    let date = reach.as_ref().ok().and_then(|reached| reached.date);
    let host = network::host(&asked);
    let did = format!("Compared the clock of this machine with the date that {host} sends.");
    let finding = match date {
        // Dates have whole seconds and a way to travel: half a second is nothing.
        Some(date) => compare(did, env.now().as_second() - date.as_second(), request.settings.flow),
        None => Finding::skipped(format!("Not checked, because {host} sent no date.")),
    };
    Probed::with(finding, reach)
}

/// `ahead`: seconds that this machine is ahead.
fn compare(did: String, ahead: i64, flow: AuthenticationFlow) -> Finding {
    let off = ahead.unsigned_abs();
    let words = match (off, ahead > 0) {
        (0 | 1, _) => "The clocks agree.".to_owned(),
        (_, true) => format!("The clock of this machine is {} fast.", spoken(off)),
        (_, false) => format!("The clock of this machine is {} slow.", spoken(off)),
    };
    if off <= FINE {
        return Finding::pass(did, words);
    }
    let signs = flow == AuthenticationFlow::Certificate;
    let (verdict, effect) = match (off > TOO_MUCH, signs) {
        (true, true) => (Verdict::Fail, "signing in with a certificate will fail"),
        (false, true) => (Verdict::Warn, "signing in with a certificate will fail if it grows"),
        (_, false) => (Verdict::Warn, "times shown and waited for are wrong by as much"),
    };
    let cause = format!("{}; {effect}.", words.trim_end_matches('.'));
    Finding::wrong(verdict, did, words, cause, "Set the clock of this machine by NTP, and press Test again.")
}

fn spoken(seconds: u64) -> String {
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds / 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_wrong_clock_means_depends_on_the_flow() {
        use AuthenticationFlow::{Certificate, ClientSecret};
        for (ahead, flow, verdict, words) in [
            (0, Certificate, Verdict::Pass, "agree"),
            (30, Certificate, Verdict::Pass, "30 s fast"),
            (-31, Certificate, Verdict::Warn, "31 s slow"),
            (-31, ClientSecret, Verdict::Warn, "31 s slow"),
            (-540, Certificate, Verdict::Fail, "9 min slow"),
            (540, ClientSecret, Verdict::Warn, "9 min fast"),
        ] {
            let finding = compare(String::new(), ahead, flow);
            assert_eq!(finding.verdict, verdict, "{ahead}");
            assert!(finding.got.contains(words), "{}", finding.got);
        }
    }
}
