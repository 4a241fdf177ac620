//! Recipient filters of management scopes: comparisons of two properties, joined by `-or`.

use sqlx::{Row, SqliteConnection};

use super::cmdlets::dn;

/// Most comparisons of a filter.
const MOST: usize = 500;

/// One comparison.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// `MemberOfGroup -eq '<distinguished name>'`.
    MemberOf(String),
    /// `PrimarySmtpAddress -eq 'address'`.
    Address(String),
}

/// Reads a filter; the sentence says what is wrong with it.
pub(super) fn read(text: &str) -> Result<Vec<Test>, String> {
    let wrong = || {
        "The recipient filter is invalid: MemberOfGroup -eq '…', or PrimarySmtpAddress -eq '…' joined by -or."
            .to_owned()
    };
    let mut rest = text.trim();
    while let Some(inner) = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        if inner.contains(['(', ')']) {
            break;
        }
        rest = inner.trim();
    }
    let mut tests = Vec::new();
    loop {
        let rest_inner = rest.trim_start_matches(['(', ' ']);
        let (property, tail) = rest_inner.split_once(char::is_whitespace).ok_or_else(wrong)?;
        let tail = tail.trim_start();
        let operator = tail.get(..3).filter(|text| text.eq_ignore_ascii_case("-eq")).ok_or_else(wrong)?;
        let tail = tail[operator.len()..].trim_start();
        let quote = tail.chars().next().filter(|c| ['\'', '"'].contains(c)).ok_or_else(wrong)?;
        let (value, tail) = tail[1..].split_once(quote).ok_or_else(wrong)?;
        tests.push(match property.to_ascii_lowercase().as_str() {
            "memberofgroup" => Test::MemberOf(value.to_owned()),
            "primarysmtpaddress" => Test::Address(value.to_owned()),
            _ => return Err(wrong()),
        });
        let tail = tail.trim_start_matches([')', ' ']);
        if tail.is_empty() {
            return Ok(tests);
        }
        let or = tail.get(..3).filter(|text| text.eq_ignore_ascii_case("-or")).ok_or_else(wrong)?;
        rest = tail[or.len()..].trim_start();
        if tests.len() >= MOST {
            return Err("The recipient filter is too long.".to_owned());
        }
    }
}

/// Whether a mailbox is in a scope; members of groups inside groups are not.
pub(super) async fn meets(
    db: &mut SqliteConnection,
    filter: &str,
    mailbox: &str,
    address: &str,
) -> sqlx::Result<bool> {
    for test in read(filter).unwrap_or_default() {
        let met = match test {
            Test::Address(wanted) => wanted.eq_ignore_ascii_case(address),
            Test::MemberOf(wanted) => {
                let rows = sqlx::query("SELECT name FROM group_member WHERE mailbox = ?")
                    .bind(mailbox)
                    .fetch_all(&mut *db)
                    .await?;
                rows.iter().any(|row| dn(row.get("name")).eq_ignore_ascii_case(&wanted))
            }
        };
        if met {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    postroom_fuzz::targets! {
        sandbox_recipient_filter: ["CustomAttribute1 -eq 'a' -or (Alias -like \"b*\") -and MemberOfGroup -eq 'x'"] =>
            |bytes| read(&String::from_utf8_lossy(bytes)).map(|tests| tests.len()),
    }

    #[test]
    fn both_forms_are_read_and_others_refused() {
        let two = read("PrimarySmtpAddress -eq 'a@b.example' -or (PrimarySmtpAddress -EQ \"c@d.example\")")
            .unwrap();
        assert_eq!(two, [Test::Address("a@b.example".to_owned()), Test::Address("c@d.example".to_owned())]);
        assert_eq!(read("MemberOfGroup -eq 'CN=x'").unwrap(), [Test::MemberOf("CN=x".to_owned())]);
        for wrong in ["", "Alias -eq 'x'", "PrimarySmtpAddress -like 'x*'", "PrimarySmtpAddress -eq 'x' -and"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
