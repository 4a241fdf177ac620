//! Values inside scripts. Each shell gets its own kind of literal in which nothing is expanded; what a literal
//! cannot hold (line ends, hidden characters) was refused by [`Plan::validate`](crate::Plan::validate) before.

/// A literal of PowerShell: single quotes, each quote inside written twice. PowerShell takes four typographic quotes
/// for single quotes too.
pub fn powershell(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for c in text.chars() {
        literal.push(c);
        if matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}') {
            literal.push(c);
        }
    }
    literal.push('\'');
    literal
}

/// A literal of POSIX shells: single quotes; a quote inside ends the literal, stands escaped, and begins it again.
pub fn bash(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A text inside the quotes of an OData or OPATH filter: a quote is written twice.
pub fn filter(text: &str) -> String {
    text.replace('\'', "''")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a literal of PowerShell back, as its scanner does; none when it is not one literal and nothing else.
    fn read_powershell(literal: &str) -> Option<String> {
        let quote = |c: char| matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}');
        let mut rest = literal.chars().peekable();
        rest.next().filter(|c| quote(*c))?;
        let mut text = String::new();
        while let Some(c) = rest.next() {
            if !quote(c) {
                text.push(c);
            } else if rest.peek().copied().is_some_and(quote) {
                text.push(c);
                rest.next();
            } else {
                return rest.next().is_none().then_some(text);
            }
        }
        None
    }

    proptest! {
        #[test]
        fn powershell_reads_back_what_was_written(text in "[^\\p{Cc}]{0,40}") {
            let literal = powershell(&text);
            // Doubled quotes of different kinds cannot arise: each is followed by itself.
            prop_assert_eq!(read_powershell(&literal), Some(text));
        }
    }

    #[test]
    fn bash_reads_back_what_was_written() {
        for text in
            ["plain", "it's", "'", "''", "$(touch x)", "`id`", "\"; rm -rf ~ #", "\\", "a’b", "!!", "-n"]
        {
            let output = std::process::Command::new("bash")
                .args(["-c", &format!("printf '%s' {}", bash(text))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }
}
