//! The plan in words.

use std::fmt::Write;

use crate::plan::{Api, KeyKind, Limit, Plan};

impl Plan {
    /// The plan as plain text for people: what will be made, granted and limited.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut row = |label: &str, value: &str| {
            for (index, line) in value.lines().enumerate() {
                let label = if index == 0 { label } else { "" };
                let _ = writeln!(text, "  {label:<14} {line}");
            }
        };
        row("Connection", &self.connection);
        row("Application", &self.application);
        row("Account type", self.accounts.label());
        let uris: Vec<&str> = self.redirect_uris.iter().map(url::Url::as_str).collect();
        let none = "none: an application that signs in by itself needs none";
        row("Redirect URI", if uris.is_empty() { none.to_owned() } else { uris.join("\n") }.as_str());
        row("API", self.api.label());
        let rights: Vec<String> = self
            .rights()
            .iter()
            .map(|right| {
                let whose = if right.tenant_wide { "granted by Entra" } else { "granted by Exchange" };
                format!("{} ({whose}): {}", right.value, right.why)
            })
            .collect();
        row("Rights", &rights.join("\n"));
        row("Limit", self.limit_words());
        let mailboxes: Vec<&str> = self.mailboxes.iter().map(|address| address.as_str()).collect();
        row(
            "Mailboxes",
            if mailboxes.is_empty() { "none yet".to_owned() } else { mailboxes.join("\n") }.as_str(),
        );
        let closed: Vec<&str> = self.must_not_open.iter().map(|address| address.as_str()).collect();
        row("Must stay shut", &closed.join("\n"));
        let end = self.key.expires_at.to_string();
        let end = end.get(..10).unwrap_or(&end);
        row("Credential", &format!("{} `{}`, valid until {end}", self.key.kind, self.key.name));
        if self.key.kind == KeyKind::Secret {
            row("", "a client secret cannot renew itself with these rights; a certificate can");
        }
        row("Public client", "no: nobody signs in to it with a user's password");
        text
    }

    /// What keeps the application to its mailboxes, in a sentence.
    pub fn limit_words(&self) -> &'static str {
        match (self.api, self.limit) {
            (Api::ImapSmtp, _) => "permission on each mailbox, given in Exchange",
            (_, Limit::Rbac) => "RBAC for Applications: only the mailboxes below; no tenant-wide grant",
            (_, Limit::AccessPolicy) => {
                "application access policy: tenant-wide grant, cut to the mailboxes below"
            }
            (_, Limit::None) => "none: it can open every mailbox of the tenant",
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::plan;

    #[test]
    fn the_plan_reads_well() {
        let text = plan().render();
        assert_eq!(
            text,
            "  Connection     Contoso 365
  Application    Postroom Contoso 365
  Account type   Accounts in this organizational directory only
  Redirect URI   none: an application that signs in by itself needs none
  API            Microsoft Graph
  Rights         Application Mail.ReadWrite (granted by Exchange): to read incoming mail, and to make a draft before it is sent
                 Application Mail.Send (granted by Exchange): to send that draft
  Limit          RBAC for Applications: only the mailboxes below; no tenant-wide grant
  Mailboxes      orders@contoso.example
                 service@contoso.example
  Credential     certificate `Postroom 2026-11-23 a575a896`, valid until 2027-11-23
  Public client  no: nobody signs in to it with a user's password
"
        );
    }
}
