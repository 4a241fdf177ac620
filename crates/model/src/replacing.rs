//! What a saved connection may be turned into: two rules that every form and command keeps.

use crate::address::HostName;
use crate::connection::{ConnectionKind, ConnectionSettings};
use crate::problem::Problems;

impl ConnectionSettings {
    /// Whether the secret stored for `old` may be used with these settings. It is only ever used where it was entered
    /// for: another server or cloud would otherwise be handed a secret that nobody here can read.
    pub fn may_keep_secret_of(&self, old: &ConnectionSettings) -> bool {
        if self.kind != old.kind {
            return false;
        }
        match self.kind {
            ConnectionKind::ExchangeOnline => self.cloud == old.cloud,
            ConnectionKind::Exchange | ConnectionKind::Imap | ConnectionKind::Smtp => {
                let host = |settings: &Self| HostName::from_pasted(&settings.server).ok();
                host(self).is_some_and(|host_now| host(old) == Some(host_now))
            }
        }
    }

    /// What forbids that these settings replace the saved `old` ones.
    pub fn may_replace(&self, old: &ConnectionSettings) -> Problems {
        let mut problems = Problems::new();
        if self.kind != old.kind {
            problems
                .error(
                    "kind",
                    format!("Service of a saved connection cannot be changed: it is {}", old.kind.label()),
                )
                .hint("Its mailboxes and the outgoing settings count on it; add another connection.");
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Cloud;

    #[test]
    fn a_stored_secret_stays_with_the_server_it_was_entered_for() {
        let smtp = |server: &str| ConnectionSettings {
            server: server.into(),
            ..ConnectionSettings::new(ConnectionKind::Smtp)
        };
        let old = smtp("smtp.fabrikam.example");
        assert!(smtp("SMTP.fabrikam.example").may_keep_secret_of(&old));
        assert!(ConnectionSettings { port: 587, ..old.clone() }.may_keep_secret_of(&old));
        assert!(!smtp("smtp.evil.example").may_keep_secret_of(&old));
        assert!(!smtp("").may_keep_secret_of(&smtp("")), "no server is no server it was entered for");
        let imap = ConnectionSettings { kind: ConnectionKind::Imap, ..old.clone() };
        assert!(!imap.may_keep_secret_of(&old));
        let online = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
        let elsewhere = ConnectionSettings { cloud: Cloud::China, ..online.clone() };
        assert!(online.may_keep_secret_of(&online) && !elsewhere.may_keep_secret_of(&online));
    }

    #[test]
    fn the_service_of_a_saved_connection_stays() {
        let old = ConnectionSettings::new(ConnectionKind::Imap);
        let renamed = ConnectionSettings { name: "Office".into(), ..old.clone() };
        assert!(renamed.may_replace(&old).is_empty());
        let problems = ConnectionSettings::new(ConnectionKind::Smtp).may_replace(&old);
        assert_eq!(
            problems.at("kind").unwrap().message,
            "Service of a saved connection cannot be changed: it is IMAP"
        );
        assert!(problems.blocks());
    }
}
