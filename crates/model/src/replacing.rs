//! What a saved connection may be turned into: two rules that every form and command keeps.

use crate::address::HostName;
use crate::connection::{ConnectionKind, ConnectionSettings, TlsMode};
use crate::problem::Problems;

impl ConnectionSettings {
    /// Whether the secrets stored for `old`, those of its mailboxes among them, may be used with these settings. They
    /// are only ever used where they were entered for: another server or cloud, or a line that is readable on the way,
    /// would otherwise be handed a secret that nobody here can read.
    pub fn may_keep_secret_of(&self, old: &ConnectionSettings) -> bool {
        if self.kind != old.kind || self.exposes_more_than(old) {
            return false;
        }
        let same_host = || {
            let host = |settings: &Self| HostName::from_pasted(&settings.server).ok();
            host(self).is_some_and(|host_now| host(old) == Some(host_now))
        };
        match self.kind {
            ConnectionKind::ExchangeOnline => self.cloud == old.cloud,
            ConnectionKind::Exchange => same_host(),
            // A password goes to the server, a client secret to the cloud: which of them is stored follows from the
            // flow, and the flow may have changed back and forth.
            ConnectionKind::Imap | ConnectionKind::Smtp => same_host() && self.cloud == old.cloud,
        }
    }

    /// Whether the line is less protected than that of `old`.
    fn exposes_more_than(&self, old: &ConnectionSettings) -> bool {
        let protection = |settings: &Self| match settings.tls {
            TlsMode::Implicit | TlsMode::Starttls => 2,
            TlsMode::StarttlsIfOffered => 1,
            TlsMode::Plain => 0,
        };
        let readable = |settings: &Self| settings.tls == TlsMode::Plain && settings.accept_plain;
        protection(self) < protection(old) || (readable(self) && !readable(old))
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
        if self.kind == ConnectionKind::ExchangeOnline && self.api != old.api {
            problems
                .error("api", format!("Interface of a saved connection is switched by a migration: it is {}", old.api.label()))
                .hint("`postroom connection migrate NAME --to graph` keeps its mailboxes and reads no message twice.");
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Cloud, ExchangeApi};

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
    fn a_stored_secret_never_moves_to_a_line_that_is_readable() {
        use TlsMode::{Implicit, Plain, Starttls, StarttlsIfOffered};
        for (before, after, kept) in [
            ((Implicit, false), (Starttls, false), true),
            ((Starttls, false), (Implicit, true), true),
            ((Implicit, false), (Plain, false), false),
            ((Implicit, true), (Plain, true), false),
            ((Starttls, false), (StarttlsIfOffered, false), false),
            ((StarttlsIfOffered, false), (Plain, true), false),
            ((Plain, false), (Plain, true), false),
            ((Plain, true), (Plain, true), true),
            ((Plain, true), (Implicit, false), true),
        ] {
            let with = |(tls, accept_plain)| ConnectionSettings {
                server: "mail.fabrikam.example".into(),
                tls,
                accept_plain,
                ..ConnectionSettings::new(ConnectionKind::Imap)
            };
            assert_eq!(with(after).may_keep_secret_of(&with(before)), kept, "{before:?} to {after:?}");
        }
        let imap = ConnectionSettings {
            server: "outlook.office365.com".into(),
            flow: crate::connection::AuthenticationFlow::ClientSecret,
            ..ConnectionSettings::new(ConnectionKind::Imap)
        };
        let elsewhere = ConnectionSettings { cloud: Cloud::China, ..imap.clone() };
        assert!(!elsewhere.may_keep_secret_of(&imap), "the secret would be told to another sign-in service");
    }

    #[test]
    fn the_interface_of_a_saved_connection_is_switched_by_a_migration_only() {
        let graph = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
        let ews = ConnectionSettings { api: ExchangeApi::Ews, ..graph.clone() };
        assert!(ews.may_replace(&ews).is_empty());
        assert!(graph.may_replace(&ews).at("api").is_some() && ews.may_replace(&graph).blocks());
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
