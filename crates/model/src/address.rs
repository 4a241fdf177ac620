//! E-mail addresses and host names. A value that exists is valid, so a line break can never reach an SMTP
//! command or a header through one of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest address (RFC 5321 section 4.5.3.1.3: a path is at most 256 octets with its angle brackets).
const MAX_ADDRESS: usize = 254;
/// Longest local part (RFC 5321 section 4.5.3.1.1).
const MAX_LOCAL: usize = 64;
/// Longest host name (RFC 1035 section 2.3.4).
const MAX_HOST: usize = 253;

/// Why a text is no e-mail address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// Nothing was given.
    #[error("the address is empty")]
    Empty,
    /// Longer than an SMTP path may be.
    #[error("the address has {0} characters; at most 254 are allowed")]
    TooLong(usize),
    /// There is no `@` with something on both sides.
    #[error("`{0}` is not an e-mail address: it needs the form name@domain")]
    Form(String),
    /// A character that no address holds.
    #[error("`{text}` is not an e-mail address: the character {character:?} is not allowed")]
    Character {
        /// What was given, cut to 80 characters.
        text: String,
        /// The first offending character.
        character: char,
    },
}

/// An e-mail address: `local@domain` (RFC 5321 section 4.1.2, without quoted local parts, with UTF-8 as RFC 6531
/// allows). Keeps the case it was typed in; compares without regard to ASCII case, as Exchange does.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EmailAddress(String);

impl EmailAddress {
    /// The address as it was typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the `@`.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    /// What stands before the `@`.
    pub fn local_part(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(local, _)| local)
    }

    /// The form under which equal addresses are equal byte for byte: lower-case ASCII.
    pub fn normalized(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl FromStr for EmailAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let text = text.trim();
        let shown = || text.chars().take(80).collect::<String>();
        if text.is_empty() {
            return Err(InvalidAddress::Empty);
        }
        if text.len() > MAX_ADDRESS {
            return Err(InvalidAddress::TooLong(text.len()));
        }
        let forbidden = |c: &char| c.is_control() || c.is_whitespace() || "<>()[]\\,;:\"".contains(*c);
        if let Some(character) = text.chars().find(forbidden) {
            return Err(InvalidAddress::Character { text: shown(), character });
        }
        let Some((local, domain)) = text.rsplit_once('@') else {
            return Err(InvalidAddress::Form(shown()));
        };
        let local_ok = !local.is_empty()
            && local.len() <= MAX_LOCAL
            && !local.contains('@')
            && local.split('.').all(|atom| !atom.is_empty());
        if !local_ok || domain.parse::<HostName>().is_err() {
            return Err(InvalidAddress::Form(shown()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl PartialEq for EmailAddress {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for EmailAddress {}

impl PartialOrd for EmailAddress {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EmailAddress {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.normalized().cmp(&other.normalized())
    }
}

impl std::hash::Hash for EmailAddress {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.normalized().hash(state);
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for EmailAddress {
    type Error = InvalidAddress;

    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        text.parse()
    }
}

impl From<EmailAddress> for String {
    fn from(address: EmailAddress) -> Self {
        address.0
    }
}

/// An address with the name shown beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedAddress {
    /// Display name; never contains control characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The address.
    pub address: EmailAddress,
}

impl From<EmailAddress> for NamedAddress {
    fn from(address: EmailAddress) -> Self {
        Self { name: None, address }
    }
}

impl FromStr for NamedAddress {
    type Err = InvalidAddress;

    /// Reads `a@b` and `Name <a@b>`.
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let text = text.trim();
        let Some((name, rest)) = text.rsplit_once('<') else {
            return text.parse::<EmailAddress>().map(Self::from);
        };
        let Some(address) = rest.strip_suffix('>') else {
            return Err(InvalidAddress::Form(text.chars().take(80).collect()));
        };
        let name = name.trim().trim_matches('"').trim();
        if let Some(character) = name.chars().find(|c| c.is_control()) {
            return Err(InvalidAddress::Character { text: text.chars().take(80).collect(), character });
        }
        let name = (!name.is_empty()).then(|| name.to_owned());
        Ok(Self { name, address: address.parse()? })
    }
}

impl fmt::Display for NamedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} <{}>", self.address),
            None => self.address.fmt(f),
        }
    }
}

/// Why a text is no host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a host name (letters, digits, dots and hyphens, such as outlook.office365.com)")]
pub struct InvalidHostName(String);

/// A host name (RFC 1123 section 2.1, non-ASCII labels allowed) or an IP address literal, without port or scheme.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

impl HostName {
    /// The name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads what people paste into a server field: a host name, or a URL whose host is kept.
    ///
    /// # Errors
    /// [`InvalidHostName`] when neither can be read from `text`.
    pub fn from_pasted(text: &str) -> Result<Self, InvalidHostName> {
        let text = text.trim();
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = match host.rsplit_once(':') {
            Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) && !name.contains(':') => name,
            _ => host,
        };
        host.parse()
    }
}

impl FromStr for HostName {
    type Err = InvalidHostName;

    fn from_str(text: &str) -> Result<Self, InvalidHostName> {
        let refuse = || InvalidHostName(text.chars().take(80).collect());
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        let label_ok = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
        };
        if text.len() > MAX_HOST || !text.split('.').all(label_ok) {
            return Err(refuse());
        }
        Ok(Self(text.to_lowercase()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for HostName {
    type Error = InvalidHostName;

    fn try_from(text: String) -> Result<Self, InvalidHostName> {
        text.parse()
    }
}

impl From<HostName> for String {
    fn from(host: HostName) -> Self {
        host.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "the address is empty"),
            ("orders", "`orders` is not an e-mail address: it needs the form name@domain"),
            ("a@b@c.example", "`a@b@c.example` is not an e-mail address: it needs the form name@domain"),
            (".a@b.example", "`.a@b.example` is not an e-mail address: it needs the form name@domain"),
            ("a b@c.example", "`a b@c.example` is not an e-mail address: the character ' ' is not allowed"),
            (
                "a@b.example\r\nRCPT",
                "`a@b.example\r\nRCPT` is not an e-mail address: the character '\\r' is not allowed",
            ),
        ] {
            assert_eq!(text.parse::<EmailAddress>().unwrap_err().to_string(), reason);
        }
    }

    #[test]
    fn equal_without_regard_to_case_but_kept_as_typed() {
        let typed: EmailAddress = "Orders@Contoso.example".parse().unwrap();
        assert_eq!(typed, "orders@contoso.example".parse().unwrap());
        assert_eq!(typed.as_str(), "Orders@Contoso.example");
        assert_eq!((typed.local_part(), typed.domain()), ("Orders", "Contoso.example"));
    }

    #[test]
    fn named_addresses_are_read_in_both_forms() {
        let named: NamedAddress = "\"Ann Berg\" <ann@fabrikam.example>".parse().unwrap();
        assert_eq!(named.name.as_deref(), Some("Ann Berg"));
        assert_eq!(named.to_string(), "Ann Berg <ann@fabrikam.example>");
        assert!("Ann\r\nBcc: x <ann@fabrikam.example>".parse::<NamedAddress>().is_err());
        assert!("Ann <ann@fabrikam.example".parse::<NamedAddress>().is_err());
    }

    #[test]
    fn a_pasted_url_gives_its_host() {
        for text in [
            "https://outlook.office365.com/EWS/Exchange.asmx",
            "outlook.office365.com:443",
            " Outlook.Office365.com ",
        ] {
            assert_eq!(HostName::from_pasted(text).unwrap().as_str(), "outlook.office365.com");
        }
        assert!(HostName::from_pasted("outlook office365").is_err());
        assert!(HostName::from_pasted("").is_err());
    }

    proptest! {
        #[test]
        fn no_address_holds_a_line_break_and_each_survives_print_and_parse(text in "\\PC{0,300}|[\\r\\n@a-z.]{0,30}") {
            if let Ok(address) = text.parse::<EmailAddress>() {
                prop_assert!(!address.as_str().contains(['\r', '\n', ' ']));
                prop_assert_eq!(address.to_string().parse::<EmailAddress>().unwrap(), address);
            }
        }
    }
}
