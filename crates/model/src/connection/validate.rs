//! What is wrong with the settings of a connection, each at its field. What a field means follows from kind, interface
//! and flow, so each kind has its own rules beside those that all share.

use super::secret::{validate_certificate, validate_federated, validate_password, validate_secret};
use super::{
    AuthenticationFlow, Cloud, ConnectionKind, ConnectionSettings, ExchangeApi, SecretField, TlsMode,
    is_guid, is_loopback,
};
use crate::address::HostName;
use crate::problem::Problems;

/// Longest user name, in characters.
const MAX_USER_NAME: usize = 256;

impl ConnectionSettings {
    /// Everything that is wrong, at its field. Errors block saving, warnings do not.
    pub fn validate(&self, secret: SecretField<'_>) -> Problems {
        let mut problems = Problems::new();
        if self.name.chars().count() > 100 || self.name.chars().any(char::is_control) {
            problems.error("name", "Name is too long or holds control characters (at most 100 characters)");
        }
        let host = self.validate_server(&mut problems);
        self.validate_tls(host.as_ref(), &mut problems);
        validate_user_name(&self.user_name, &mut problems);
        if !(1..=150).contains(&self.max_size_mb) {
            problems.error("max_size_mb", "Maximum size for files in e-mail must be 1 to 150 MB");
        }
        if self.uses_entra() {
            self.validate_application(&mut problems);
            self.validate_credential(secret, &mut problems);
        }
        match self.kind {
            ConnectionKind::ExchangeOnline => self.validate_interface(&mut problems),
            ConnectionKind::Exchange => self.validate_on_premises(secret, &mut problems),
            ConnectionKind::Imap | ConnectionKind::Smtp => {
                self.validate_mail_server(host.as_ref(), secret, &mut problems);
            }
        }
        problems
    }

    fn validate_server(&self, problems: &mut Problems) -> Option<HostName> {
        if self.server.trim().is_empty() {
            problems.error("server", "Server address is missing");
            return None;
        }
        match HostName::from_pasted(&self.server) {
            Ok(host) => Some(host),
            Err(error) => {
                problems.error("server", error.to_string());
                None
            }
        }
    }

    fn validate_tls(&self, host: Option<&HostName>, problems: &mut Problems) {
        let signs_in = self.uses_entra() || !self.user_name.trim().is_empty();
        match (self.tls, self.kind) {
            (TlsMode::Plain, _) => self.validate_plain(host, problems),
            (TlsMode::StarttlsIfOffered, ConnectionKind::Smtp) if signs_in => {
                problems.error("tls", "STARTTLS if offered is for relays that ask for no password").hint(
                    "Choose STARTTLS or TLS: a password or token never crosses a line that may be readable.",
                )
            }
            (TlsMode::StarttlsIfOffered, ConnectionKind::Imap) => problems
                .error("tls", "STARTTLS if offered is for SMTP relays only")
                .hint("Choose TLS or STARTTLS."),
            (
                TlsMode::Starttls | TlsMode::StarttlsIfOffered,
                ConnectionKind::Exchange | ConnectionKind::ExchangeOnline,
            ) => problems.error("tls", "Exchange has no STARTTLS").hint("Choose TLS."),
            _ => {}
        }
    }

    fn validate_plain(&self, host: Option<&HostName>, problems: &mut Problems) {
        let Some(host) = host.filter(|host| !is_loopback(host.as_str())) else { return };
        if self.accept_plain && self.kind != ConnectionKind::ExchangeOnline {
            problems
                .warning("accept_plain", format!("Passwords and mail cross the network to {host} readable"))
                .hint("Choose TLS or STARTTLS as soon as the server offers one of them.");
            return;
        }
        problems
            .error("tls", "Without TLS only this machine can be reached")
            .hint("Choose TLS or STARTTLS; passwords and mail would cross the network readable.");
    }

    /// The ids of the application that signs in.
    fn validate_application(&self, problems: &mut Problems) {
        let application = self.application_id.trim();
        if application.is_empty() {
            problems.error("application_id", "Application (client) ID is missing");
        } else if !is_guid(application) {
            problems
                .error("application_id", "Application (client) ID is not a GUID")
                .hint("Copy it from the app registration's Overview page; it has the form 1b2c3d4e-....");
        }
        let tenant = self.tenant_id.trim().to_ascii_lowercase();
        if tenant.is_empty() {
            problems.error("tenant_id", "Directory (tenant) ID is missing");
        } else if ["common", "organizations", "consumers"].contains(&tenant.as_str()) {
            problems
                .error("tenant_id", format!("Directory (tenant) ID cannot be `{tenant}`"))
                .hint("An application signs in to one tenant: copy the Directory (tenant) ID, or type a verified domain.");
        } else if !is_guid(&tenant) && !is_domain(&tenant) {
            problems
                .error("tenant_id", "Directory (tenant) ID is neither a GUID nor a domain")
                .hint("Copy it from the app registration's Overview page.");
        } else if !application.is_empty() && tenant == application.to_ascii_lowercase() {
            problems
                .error("tenant_id", "Directory (tenant) ID is the same as Application (client) ID")
                .hint("One of the two was pasted twice.");
        }
    }

    /// The flow with its credential, and where the token is asked for.
    fn validate_credential(&self, secret: SecretField<'_>, problems: &mut Problems) {
        match self.flow {
            AuthenticationFlow::ClientSecret => validate_secret(secret, problems),
            AuthenticationFlow::Password => problems
                .warning(
                    "flow",
                    "User name/Password is discouraged: it fails with multi-factor authentication",
                )
                .hint("Choose Client secret."),
            AuthenticationFlow::Certificate => validate_certificate(secret, problems),
            AuthenticationFlow::Federated => validate_federated(secret, problems),
        }
        let Cloud::Custom(endpoints) = &self.cloud else { return };
        let exchange = endpoints.exchange.as_ref().map(|url| ("exchange", url));
        let addresses = [("authority", &endpoints.authority), ("graph", &endpoints.graph)];
        for (field, url) in addresses.into_iter().chain(exchange) {
            let https = url.scheme() == "https";
            let loopback = url.scheme() == "http" && url.host_str().is_some_and(is_loopback);
            if !https && !loopback {
                problems.error(field, format!("{url} is not https, and not on this machine"));
            }
        }
    }

    fn validate_interface(&self, problems: &mut Problems) {
        if self.api != ExchangeApi::Ews {
            return;
        }
        // Dates: Microsoft, "Deprecation of Exchange Web Services in Exchange Online"
        // (https://learn.microsoft.com/exchange/clients-and-mobile-in-exchange-online/deprecation-of-ews-exchange-online).
        problems
            .warning("api", "Exchange Web Services end in Exchange Online on 2027-04-01")
            .hint("Switch to Microsoft Graph before: `postroom connection migrate NAME --to graph` keeps the mailboxes and reads no message twice.");
        if self.ews_url().is_err() {
            problems
                .error("exchange", "Exchange address is missing")
                .hint("A cloud with addresses of its own has one for Exchange too, such as https://mail.contoso.example.");
        }
    }

    fn validate_on_premises(&self, secret: SecretField<'_>, problems: &mut Problems) {
        if self.flow != AuthenticationFlow::Password {
            problems
                .error("flow", "Exchange on premises knows User name/Password only")
                .hint("For mailboxes of Microsoft 365 add a connection of the kind Exchange Online.");
            return;
        }
        let user_name = !self.user_name.trim().is_empty();
        match (user_name, matches!(secret, SecretField::Missing)) {
            (true, _) => validate_password(secret, problems),
            (false, false) => {
                problems.error("user_name", "User name is missing");
            }
            (false, true) => problems
                .warning("user_name", "Without a user name nothing can be sent through this connection")
                .hint("Mailboxes with a user name and password of their own are read."),
        }
    }

    /// IMAP and SMTP: a token goes to Microsoft's servers only, a password nearly everywhere but there.
    fn validate_mail_server(
        &self,
        host: Option<&HostName>,
        secret: SecretField<'_>,
        problems: &mut Problems,
    ) {
        let cloud = host.and_then(|host| Cloud::from_server_host(host.as_str()));
        if self.uses_entra() {
            self.validate_token_server(host, cloud.as_ref(), problems);
            return;
        }
        if !self.user_name.trim().is_empty() {
            validate_password(secret, problems);
        } else if self.kind == ConnectionKind::Smtp && !matches!(secret, SecretField::Missing) {
            problems
                .warning("user_name", "Without a user name the password is not used")
                .hint("A relay that asks for no password needs neither.");
            return;
        }
        if cloud.is_none() {
            return;
        }
        // Microsoft, "Updated Exchange Online SMTP AUTH Basic Authentication Deprecation Timeline" (2026-01-27).
        if self.kind == ConnectionKind::Imap {
            problems
                .warning("flow", "Exchange Online has taken no passwords over IMAP since 2023")
                .hint("Choose Client secret or Certificate.");
        } else if !self.user_name.trim().is_empty() {
            problems
                .warning(
                    "flow",
                    "Exchange Online ends passwords over SMTP: off by default from the end of December 2026",
                )
                .hint("Choose Client secret or Certificate, or the kind Exchange Online.");
        }
    }

    /// A token of Microsoft Entra opens mailboxes: no other server may be handed one.
    fn validate_token_server(&self, host: Option<&HostName>, cloud: Option<&Cloud>, problems: &mut Problems) {
        let Some(host) = host.filter(|host| !is_loopback(host.as_str())) else { return };
        match cloud {
            _ if matches!(self.cloud, Cloud::Custom(_)) => {}
            Some(cloud) if *cloud == self.cloud => {}
            Some(cloud) => problems
                .error("server", format!("{host} belongs to another cloud: {}", cloud.as_str()))
                .hint("Choose the cloud that the tenant lives in."),
            None => problems
                .error("server", format!("{host} is no server of Exchange Online"))
                .hint("A token of Microsoft Entra is for Microsoft's servers only; other servers take User name/Password."),
        }
    }
}

/// User names travel in commands of one line. Blank is for the caller to judge.
pub(crate) fn validate_user_name(user_name: &str, problems: &mut Problems) {
    if user_name.chars().count() > MAX_USER_NAME || user_name.chars().any(char::is_control) {
        problems.error(
            "user_name",
            format!("User name is too long or holds control characters (at most {MAX_USER_NAME} characters)"),
        );
    }
}

/// Whether `text` has the shape of a domain: a host name of at least two labels.
fn is_domain(text: &str) -> bool {
    text.contains('.') && text.parse::<HostName>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretString;
    use crate::connection::Endpoints;

    const APPLICATION: &str = "5a1b2c3d-0000-4000-8000-00000000a001";
    const TENANT: &str = "5a1b2c3d-0000-4000-8000-00000000b001";

    fn messages(settings: &ConnectionSettings, secret: SecretField<'_>) -> Vec<String> {
        settings.validate(secret).errors().map(|problem| problem.message.clone()).collect()
    }

    #[test]
    fn the_guides_errors_appear_and_vanish_in_its_order() {
        let mut settings = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
        let missing = SecretField::Missing;
        assert_eq!(
            messages(&settings, missing),
            ["Application (client) ID is missing", "Directory (tenant) ID is missing"]
        );
        settings.application_id = APPLICATION.into();
        assert_eq!(messages(&settings, missing), ["Directory (tenant) ID is missing"]);
        settings.tenant_id = TENANT.into();
        assert!(messages(&settings, missing).is_empty());
        settings.flow = AuthenticationFlow::ClientSecret;
        assert_eq!(messages(&settings, missing), ["Client secret is missing"]);
        let secret = SecretString::from("nQ3~invented.value_for-tests");
        assert!(messages(&settings, SecretField::Typed(&secret)).is_empty());
    }

    #[test]
    fn what_is_commonly_mixed_up_is_named() {
        let mut settings = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
        settings.application_id = APPLICATION.into();
        settings.flow = AuthenticationFlow::ClientSecret;
        for (tenant, message) in [
            ("common", "Directory (tenant) ID cannot be `common`"),
            (APPLICATION, "Directory (tenant) ID is the same as Application (client) ID"),
            ("contoso", "Directory (tenant) ID is neither a GUID nor a domain"),
        ] {
            settings.tenant_id = tenant.into();
            assert_eq!(messages(&settings, SecretField::Stored), [message]);
        }
        settings.tenant_id = "contoso.example".into();
        let secret_id = SecretString::from("b5622740-d85f-4526-9d37-080000000000");
        assert_eq!(
            messages(&settings, SecretField::Typed(&secret_id)),
            ["Client secret looks like the Secret ID"]
        );
    }

    #[test]
    fn a_certificate_needs_its_key_and_a_federated_credential_a_place() {
        let mut settings = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
        settings.application_id = APPLICATION.into();
        settings.tenant_id = TENANT.into();
        let first = |settings: &ConnectionSettings, text: &str| {
            messages(settings, SecretField::Typed(&SecretString::from(text))).into_iter().next()
        };
        settings.flow = AuthenticationFlow::Certificate;
        let certificate = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n";
        assert_eq!(first(&settings, &format!("{certificate}{key}")), None);
        for text in
            ["", "secret", certificate, key, &format!("{certificate}-----BEGIN ENCRYPTED PRIVATE KEY-----")]
        {
            assert!(first(&settings, text).is_some(), "{text}");
        }
        settings.flow = AuthenticationFlow::Federated;
        for (text, good) in [
            ("file:/var/run/secrets/token", true),
            ("file:C:\\tokens\\token", true),
            ("env:AZURE_TOKEN", true),
            ("file:token", false),
            ("eyJhbGciOi.eyJh.c2ln", false),
            ("", false),
        ] {
            assert_eq!(first(&settings, text).is_none(), good, "{text}");
        }
        assert!(messages(&settings, SecretField::Stored).is_empty());
    }

    /// What blocks, what warns: the fields in order, warnings in brackets.
    fn fields(settings: &ConnectionSettings, secret: SecretField<'_>) -> String {
        let problems = settings.validate(secret);
        let errors = problems.errors().map(|problem| problem.field.clone());
        let warnings = problems.warnings().map(|problem| format!("({})", problem.field));
        errors.chain(warnings).collect::<Vec<_>>().join(" ")
    }

    fn of(kind: ConnectionKind, server: &str) -> ConnectionSettings {
        ConnectionSettings { server: server.into(), ..ConnectionSettings::new(kind) }
    }

    #[test]
    fn a_line_without_protection_is_for_this_machine_or_for_those_who_say_so() {
        use ConnectionKind::{Exchange, ExchangeOnline, Imap, Smtp};
        use TlsMode::{Implicit, Plain, Starttls, StarttlsIfOffered};
        let (far, near) = ("mail.fabrikam.example", "127.0.0.1");
        for (kind, tls, server, accepted, user, expected) in [
            (Smtp, Plain, far, false, "", "tls"),
            (Smtp, Plain, far, true, "", "(accept_plain)"),
            (Smtp, Plain, far, true, "erp", "(accept_plain)"),
            (Smtp, Plain, near, false, "erp", ""),
            (Smtp, StarttlsIfOffered, far, false, "", ""),
            (Smtp, StarttlsIfOffered, far, false, "erp", "tls"),
            (Smtp, StarttlsIfOffered, near, true, "erp", "tls"),
            (Smtp, Starttls, far, false, "erp", ""),
            (Imap, StarttlsIfOffered, far, false, "", "tls"),
            (Imap, Plain, far, false, "erp", "tls"),
            (Imap, Plain, "localhost", false, "erp", ""),
            (Imap, Implicit, far, false, "erp", ""),
            (Exchange, Plain, far, true, "erp", "(accept_plain)"),
            (Exchange, Starttls, far, false, "erp", "tls"),
            (ExchangeOnline, Plain, far, true, "", "application_id tenant_id tls (flow)"),
        ] {
            let settings = ConnectionSettings {
                tls,
                accept_plain: accepted,
                user_name: user.into(),
                ..of(kind, server)
            };
            let secret = if user.is_empty() { SecretField::Missing } else { SecretField::Stored };
            let mut found: Vec<_> = fields(&settings, secret).split(' ').map(str::to_owned).collect();
            found.sort_by_key(|field| (field.starts_with('('), field.clone()));
            assert_eq!(found.join(" "), expected, "{kind:?} {tls:?} {server} {accepted} `{user}`");
        }
    }

    #[test]
    fn each_kind_asks_for_what_its_flow_signs_in_with() {
        use AuthenticationFlow::{Certificate, ClientSecret, Password};
        use ConnectionKind::{Exchange, Imap, Smtp};
        let missing = SecretField::Missing;
        let stored = SecretField::Stored;
        let (microsoft, other) = ("smtp.office365.com", "mail.fabrikam.example");
        for (kind, flow, server, user, secret, expected) in [
            (Exchange, Password, other, "CONTOSO\\erp", missing, "secret"),
            (Exchange, Password, other, "CONTOSO\\erp", stored, ""),
            (Exchange, Password, other, "", stored, "user_name"),
            (Exchange, Password, other, "", missing, "(user_name)"),
            (Exchange, ClientSecret, other, "", stored, "flow"),
            (Imap, Password, other, "", missing, ""),
            (Imap, Password, other, "erp", missing, "secret"),
            (Imap, Password, other, "e\r\nrp", stored, "user_name"),
            (Imap, Password, "outlook.office365.com", "", missing, "(flow)"),
            (Imap, ClientSecret, "outlook.office365.com", "", missing, "application_id tenant_id secret"),
            (Imap, Certificate, other, "", stored, "application_id tenant_id server"),
            (Smtp, Password, other, "", missing, ""),
            (Smtp, Password, other, "", stored, "(user_name)"),
            (Smtp, Password, microsoft, "erp", stored, "(flow)"),
            (Smtp, Password, microsoft, "", missing, ""),
            (Smtp, ClientSecret, microsoft, "", stored, "application_id tenant_id"),
            (Smtp, ClientSecret, "smtp.office365.us", "", stored, "application_id tenant_id server"),
            (Smtp, ClientSecret, "127.0.0.1", "", stored, "application_id tenant_id"),
        ] {
            let settings = ConnectionSettings { flow, user_name: user.into(), ..of(kind, server) };
            assert_eq!(fields(&settings, secret), expected, "{kind:?} {flow:?} {server} `{user}`");
        }
        let line = SecretString::from("one\ntwo");
        let imap = ConnectionSettings { user_name: "erp".into(), ..of(Imap, other) };
        assert_eq!(fields(&imap, SecretField::Typed(&line)), "secret");
    }

    #[test]
    fn exchange_web_services_tell_their_end_and_need_an_address() {
        let url = |text: &str| url::Url::parse(text).unwrap();
        let endpoints = Endpoints {
            authority: url("http://127.0.0.1:1"),
            graph: url("http://127.0.0.1:1"),
            exchange: None,
        };
        let mut settings = ConnectionSettings {
            api: ExchangeApi::Ews,
            application_id: APPLICATION.into(),
            tenant_id: TENANT.into(),
            flow: AuthenticationFlow::ClientSecret,
            ..ConnectionSettings::new(ConnectionKind::ExchangeOnline)
        };
        assert_eq!(fields(&settings, SecretField::Stored), "(api)");
        let problems = settings.validate(SecretField::Stored);
        let warning = problems.at("api").unwrap();
        assert!(warning.message.contains("2027-04-01"), "{warning:?}");
        assert!(warning.hint.as_ref().unwrap().contains("connection migrate"), "{warning:?}");
        settings.cloud = Cloud::Custom(endpoints.clone());
        assert_eq!(fields(&settings, SecretField::Stored), "exchange (api)");
        for (address, expected) in [
            ("http://127.0.0.1:2", "(api)"),
            ("https://mail.contoso.example", "(api)"),
            ("http://mail.contoso.example", "exchange (api)"),
        ] {
            let exchange = Some(url(address));
            settings.cloud = Cloud::Custom(Endpoints { exchange, ..endpoints.clone() });
            assert_eq!(fields(&settings, SecretField::Stored), expected, "{address}");
        }
    }

    #[test]
    fn port_0_is_the_standard_port_of_service_and_protection() {
        use ConnectionKind::{Exchange, ExchangeOnline, Imap, Smtp};
        use TlsMode::{Implicit, Plain, Starttls, StarttlsIfOffered};
        for (kind, tls, port) in [
            (ExchangeOnline, Implicit, 443),
            (Exchange, Implicit, 443),
            (Exchange, Plain, 80),
            (Imap, Implicit, 993),
            (Imap, Starttls, 143),
            (Imap, Plain, 143),
            (Smtp, Implicit, 465),
            (Smtp, Starttls, 587),
            (Smtp, StarttlsIfOffered, 25),
            (Smtp, Plain, 25),
        ] {
            let settings = ConnectionSettings { tls, ..ConnectionSettings::new(kind) };
            assert_eq!(settings.effective_port(), port, "{kind:?} {tls:?}");
            assert_eq!(ConnectionSettings { port: 2525, ..settings }.effective_port(), 2525);
        }
    }
}
