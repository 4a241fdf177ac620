//! How long the credentials still live.

use postroom_model::Timestamp;
use postroom_model::connection::AuthenticationFlow;

use super::quoted;
use crate::finding::Finding;
use crate::{CheckRequest, Verdict};

const DID: &str = "Looked at the end dates of the credentials.";
const DAY: i64 = 24 * 3600;
/// Days below which it is to be looked at.
const AMBER: i64 = 30;
/// Days below which it is urgent.
const RED: i64 = 7;

pub(crate) fn probe(request: &CheckRequest, now: Timestamp) -> Finding {
    let settings = &request.settings;
    if settings.flow == AuthenticationFlow::Federated {
        return Finding::pass(
            DID,
            "A federated credential is made anew for each sign-in; nothing of it expires here.",
        );
    }
    if !settings.uses_entra() && request.credential_expires_at.is_none() {
        let got = match request.any_secret() {
            Some(_) => "A password of the server itself: when it ends, only its administrator knows.",
            None => "No credential is used.",
        };
        return Finding::pass(DID, got);
    }
    let label = settings.flow.label();
    let Some(end) = request.credential_expires_at else {
        return Finding::wrong(
            Verdict::Warn,
            DID,
            format!("The end date of the credential ({label}) is not known."),
            "Nobody can be warned before it ends.",
            format!(
                "Copy the date from the column Expires under Certificates & secrets, and save it with the secret: \
                 `postroom connection save --name {} --secret-file FILE --secret-expires TIME`.",
                quoted(request)
            ),
        );
    };
    let spare = request.next_credential_expires_at.filter(|spare| *spare > end);
    let got = match spare {
        Some(spare) => format!("{label}: {}. Staged beside it: {}.", life(end, now), life(spare, now)),
        None => format!("{label}: {}. No other is staged.", life(end, now)),
    };
    let left = days(end, now);
    let verdict = match (left, spare) {
        (AMBER.., _) => return Finding::pass(DID, got),
        (RED.., Some(_)) => return Finding::pass(DID, got),
        (RED.., None) => Verdict::Warn,
        _ => Verdict::Fail,
    };
    let cause = if end <= now {
        "The credential has expired.".to_owned()
    } else {
        format!("The credential ends in {left} days; then nothing is read or sent.")
    };
    let next_step = match spare {
        Some(_) => "Switch to the credential that is staged.",
        None => "Make a new secret under Certificates & secrets, and save it here before the old one ends.",
    };
    Finding::wrong(verdict, DID, got, cause, next_step)
}

/// Whole days left, rounded down; negative once it has ended.
fn days(end: Timestamp, now: Timestamp) -> i64 {
    (end.as_second() - now.as_second()).div_euclid(DAY)
}

fn life(end: Timestamp, now: Timestamp) -> String {
    let date = end.strftime("%Y-%m-%d");
    match days(end, now) {
        left @ 0.. => format!("ends on {date}, {left} days left"),
        _ => format!("ended on {date}"),
    }
}

#[cfg(test)]
mod tests {
    use postroom_model::Env;
    use postroom_model::connection::{ConnectionKind, ConnectionSettings};

    use super::*;

    #[test]
    fn amber_under_thirty_days_and_red_under_seven() {
        let (env, _) = Env::for_test(1);
        let now = env.now();
        let after = |days: i64| Timestamp::from_second(now.as_second() + days * DAY).unwrap();
        let mut request = CheckRequest::new(ConnectionSettings::new(ConnectionKind::ExchangeOnline), None);
        request.settings.flow = AuthenticationFlow::ClientSecret;
        assert_eq!(probe(&request, now).verdict, Verdict::Warn);
        for (left, spare, verdict) in [
            (30, None, Verdict::Pass),
            (29, None, Verdict::Warn),
            (29, Some(400), Verdict::Pass),
            (29, Some(10), Verdict::Warn),
            (7, None, Verdict::Warn),
            (6, None, Verdict::Fail),
            (6, Some(400), Verdict::Fail),
            (-1, None, Verdict::Fail),
        ] {
            request.credential_expires_at = Some(after(left));
            request.next_credential_expires_at = spare.map(after);
            assert_eq!(probe(&request, now).verdict, verdict, "{left} {spare:?}");
        }
        assert!(probe(&request, now).got.contains("ended on 2026-11-22"));
        request.settings.flow = AuthenticationFlow::Federated;
        assert_eq!(probe(&request, now).verdict, Verdict::Pass);
        let own = CheckRequest::new(ConnectionSettings::new(ConnectionKind::Smtp), None);
        assert_eq!(probe(&own, now).got, "No credential is used.");
    }
}
