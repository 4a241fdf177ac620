//! The part of PowerShell that administrators paste: one cmdlet a line with named parameters, variables, comments,
//! and lines that go on after a backtick; and the one pipeline that removes what was found,
//! `Get-X … | Where-Object { $_.Property -eq 'value' } | Remove-X …`; and lists joined to one text,
//! `(@('one', 'two') + $three -join ',')`; and the one condition that lets a line run twice and do its work once,
//! `if (-not (Get-X … | Where-Object { $_.Property -eq 'value' })) { New-X … }`. Everything else is refused by its line.

mod pipe;

use serde_json::{Map, Value};

pub(super) use pipe::{FilledPipe, FilledUnless, Pipe, Unless};

/// Most commands of a script.
const MOST: usize = 500;

/// What cannot be read, and where.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) line: usize,
    pub(super) what: String,
}

/// A piece of an argument: text, or a variable with a property or none.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(String, Option<String>),
}

type Word = Vec<Piece>;

/// One command, its variables not filled in yet. An assignment of a text has no cmdlet.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) line: usize,
    pub(super) cmdlet: String,
    into: Option<String>,
    text: Word,
    parameters: Vec<(String, Word)>,
    /// What the objects it gives are filtered by and handed to.
    pub(super) pipe: Option<Pipe>,
    /// What it is passed over for.
    pub(super) unless: Option<Unless>,
}

/// A command with its variables filled in.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) cmdlet: String,
    pub(super) into: Option<String>,
    /// The text of an assignment.
    pub(super) text: String,
    parameters: Vec<(String, String)>,
    pub(super) pipe: Option<Box<FilledPipe>>,
    pub(super) unless: Option<Box<FilledUnless>>,
}

impl Filled {
    /// A parameter's value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

impl Command {
    /// Names of its parameters.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn filled(self, variables: &Map<String, Value>) -> Result<Filled, String> {
        let mut parameters = Vec::new();
        for (name, word) in self.parameters {
            parameters.push((name, fill(&word, variables)?));
        }
        let pipe = self.pipe.map(|pipe| pipe.filled(variables)).transpose()?.map(Box::new);
        let unless = self.unless.map(|unless| unless.filled(variables)).transpose()?.map(Box::new);
        let text = fill(&self.text, variables)?;
        Ok(Filled { cmdlet: self.cmdlet, into: self.into, text, parameters, pipe, unless })
    }
}

fn fill(word: &Word, variables: &Map<String, Value>) -> Result<String, String> {
    let mut out = String::new();
    for piece in word {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Variable(name, property) => {
                let value = match name.to_ascii_lowercase().as_str() {
                    constant @ ("true" | "false" | "null") => Value::String(constant.to_owned()),
                    name => variables.get(name).cloned().ok_or_else(|| format!("${name} has no value."))?,
                };
                let value = match property {
                    Some(property) => value
                        .as_object()
                        .and_then(|map| map.iter().find(|(key, _)| key.eq_ignore_ascii_case(property)))
                        .map(|(_, value)| value.clone())
                        .ok_or_else(|| format!("${name} has no property {property}."))?,
                    None => value,
                };
                match value {
                    Value::String(text) => out.push_str(&text),
                    Value::Object(map) => {
                        out.push_str(map.get("Identity").and_then(Value::as_str).unwrap_or_default())
                    }
                    other => out.push_str(&other.to_string()),
                }
            }
        }
    }
    Ok(out)
}

/// Reads a script.
pub(super) fn read(text: &str) -> Result<Vec<Command>, Problem> {
    let mut commands = Vec::new();
    for (line, text) in logical_lines(text) {
        let problem = |what: String| Problem { line, what };
        if commands.len() >= MOST {
            return Err(problem("The script has more than 500 commands.".to_owned()));
        }
        commands.extend(one(line, &text).map_err(problem)?);
    }
    Ok(commands)
}

/// The command of a line, with the condition that it stands under; none for an empty line.
fn one(line: usize, text: &str) -> Result<Option<Command>, String> {
    match pipe::condition(text) {
        Some((asked, then)) => {
            let unless = Unless::read(line, tokens(asked)?)?;
            let then = command(line, tokens(then)?)?;
            Ok(then.map(|then| Command { unless: Some(unless), ..then }))
        }
        None => command(line, tokens(text)?),
    }
}

/// Lines with those joined that a backtick continues; block comments taken out. Numbers count from 1.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut out: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    let mut comment = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if comment || line.trim_start().starts_with("<#") {
            comment = !line.ends_with("#>");
            continue;
        }
        let (line, goes_on) = match line.strip_suffix('`') {
            Some(line) => (line, true),
            None => (line, false),
        };
        match out.last_mut().filter(|_| open) {
            Some((_, joined)) => {
                joined.push(' ');
                joined.push_str(line);
            }
            None => out.push((index + 1, line.to_owned())),
        }
        open = goes_on;
    }
    out
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// `-Name`.
    Parameter(String),
    Word(Word),
    Equals,
    Comma,
    Pipe,
    Open,
    Close,
    /// `$_.Property`, the object that comes down a pipe.
    Object(String),
}

/// Takes a line apart.
fn tokens(line: &str) -> Result<Vec<Token>, String> {
    let mut out = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let single = match first {
            '#' => break,
            '=' => Some(Token::Equals),
            ',' => Some(Token::Comma),
            '|' => Some(Token::Pipe),
            '{' => Some(Token::Open),
            '}' => Some(Token::Close),
            _ => None,
        };
        if let Some(token) = single {
            out.push(token);
            rest = rest[1..].trim_start();
            continue;
        }
        if let Some(tail) = rest.strip_prefix("$_.") {
            let end = tail.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(tail.len());
            let (property, tail) = tail.split_at(end);
            out.push(Token::Object(property.to_owned()));
            rest = tail.trim_start();
            continue;
        }
        if rest.starts_with("(@(") {
            let (word, tail) = joined(rest)?;
            out.push(Token::Word(word));
            rest = tail.trim_start();
            continue;
        }
        if ";()&<>@[]".contains(first) {
            return Err(format!("'{first}' is not understood here."));
        }
        let name = rest.strip_prefix('-').map(|tail| {
            let end = tail.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(tail.len());
            tail.split_at(end)
        });
        if let Some((name, tail)) =
            name.filter(|(name, _)| name.starts_with(|c: char| c.is_ascii_alphabetic()))
        {
            out.push(Token::Parameter(name.to_owned()));
            // `-Confirm:$false` is the parameter and its value.
            rest = tail.strip_prefix(':').unwrap_or(tail).trim_start();
            continue;
        }
        let (word, tail) = word(rest)?;
        out.push(Token::Word(word));
        rest = tail.trim_start();
    }
    Ok(out)
}

/// `(@('one', 'two') + $three -join ',')`: a list, what is added to it, and what stands between its entries.
fn joined(text: &str) -> Result<(Word, &str), String> {
    let misunderstood = || "This list is not understood.".to_owned();
    let mut entries: Vec<Word> = Vec::new();
    let mut rest = text.strip_prefix("(@(").ok_or_else(misunderstood)?.trim_start();
    // The entries are quoted: a bare word would run on over the parenthesis that ends the list.
    while !rest.starts_with(')') {
        if !rest.starts_with(['\'', '"']) {
            return Err(misunderstood());
        }
        let (entry, tail) = word(rest)?;
        entries.push(entry);
        let tail = tail.trim_start();
        rest = match tail.strip_prefix(',') {
            Some(tail) => tail.trim_start(),
            None if tail.starts_with(')') => tail,
            None => return Err(misunderstood()),
        };
    }
    rest = rest[1..].trim_start();
    while let Some(tail) = rest.strip_prefix('+') {
        let (entry, tail) = word(tail.trim_start())?;
        entries.push(entry);
        rest = tail.trim_start();
    }
    let (between, tail) = word(rest.strip_prefix("-join").ok_or_else(misunderstood)?.trim_start())?;
    let tail = tail.trim_start().strip_prefix(')').ok_or_else(misunderstood)?;
    let mut out = Word::new();
    for (index, entry) in entries.into_iter().enumerate() {
        if index > 0 {
            out.extend(between.iter().cloned());
        }
        out.extend(entry);
    }
    Ok((out, tail))
}

/// One argument: quoted, or bare to the next blank.
fn word(text: &str) -> Result<(Word, &str), String> {
    if let Some(tail) = text.strip_prefix('\'') {
        let mut out = String::new();
        let mut rest = tail;
        loop {
            let Some(end) = rest.find('\'') else { return Err("A ' is not closed.".to_owned()) };
            out.push_str(&rest[..end]);
            rest = &rest[end + 1..];
            match rest.strip_prefix('\'') {
                Some(more) => {
                    out.push('\'');
                    rest = more;
                }
                None => return Ok((vec![Piece::Text(out)], rest)),
            }
        }
    }
    let quoted = text.strip_prefix('"');
    let mut rest = quoted.unwrap_or(text);
    let mut out = Word::new();
    let mut plain = String::new();
    loop {
        let Some(next) = rest.chars().next() else {
            if quoted.is_some() {
                return Err("A \" is not closed.".to_owned());
            }
            break;
        };
        let stops =
            if quoted.is_some() { next == '"' } else { next.is_whitespace() || ",|=;".contains(next) };
        if stops {
            rest = if quoted.is_some() { &rest[1..] } else { rest };
            break;
        }
        if let Some((piece, tail)) = variable(rest, quoted.is_some()) {
            if !plain.is_empty() {
                out.push(Piece::Text(std::mem::take(&mut plain)));
            }
            out.push(piece);
            rest = tail;
            continue;
        }
        // A backtick takes the next character as it is.
        let (kept, skip) = match (next, rest.chars().nth(1)) {
            ('`', Some(after)) => (after, 1 + after.len_utf8()),
            _ => (next, next.len_utf8()),
        };
        plain.push(kept);
        rest = &rest[skip..];
    }
    if !plain.is_empty() || out.is_empty() {
        out.push(Piece::Text(plain));
    }
    Ok((out, rest))
}

/// `$name`, `${name}`, `$(…)`; a property without parentheses only outside quotes, as in the shell.
fn variable(text: &str, quoted: bool) -> Option<(Piece, &str)> {
    let tail = text.strip_prefix('$')?;
    if let Some(inner) = tail.strip_prefix("($") {
        let (inside, rest) = inner.split_once(')')?;
        let (name, property) = match inside.trim().split_once('.') {
            Some((name, property)) => (name, Some(property.to_owned())),
            None => (inside.trim(), None),
        };
        return is_name(name).then(|| (Piece::Variable(name.to_owned(), property), rest));
    }
    if let Some(inner) = tail.strip_prefix('{') {
        let (name, rest) = inner.split_once('}')?;
        return is_name(name).then(|| (Piece::Variable(name.to_owned(), None), rest));
    }
    let named =
        |text: &str| text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (name, rest) = tail.split_at(named(tail));
    if !is_name(name) {
        return None;
    }
    if let Some(property) = rest.strip_prefix('.').filter(|_| !quoted) {
        let (property, rest) = property.split_at(named(property));
        if is_name(property) {
            return Some((Piece::Variable(name.to_owned(), Some(property.to_owned())), rest));
        }
    }
    Some((Piece::Variable(name.to_owned(), None), rest))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Puts a command together; nothing for an empty line.
fn command(line: usize, tokens: Vec<Token>) -> Result<Option<Command>, String> {
    let mut tokens = tokens.into_iter().peekable();
    let Some(first) = tokens.next() else { return Ok(None) };
    let Token::Word(mut head) = first else { return Err("A command begins with its name.".to_owned()) };
    let mut command = Command {
        line,
        cmdlet: String::new(),
        into: None,
        text: Word::new(),
        parameters: Vec::new(),
        pipe: None,
        unless: None,
    };
    if let [Piece::Variable(name, None)] = head.as_slice() {
        command.into = Some(name.clone());
        match (tokens.next(), tokens.next()) {
            (Some(Token::Equals), Some(Token::Word(value))) => head = value,
            _ => return Err("A variable is given a value with '='.".to_owned()),
        }
        let is_command = matches!(head.as_slice(), [Piece::Text(text)] if is_cmdlet(text));
        if !is_command {
            command.text = head;
            return match tokens.next() {
                None => Ok(Some(command)),
                Some(_) => Err("After the value of a variable the line must end.".to_owned()),
            };
        }
    }
    match head.as_slice() {
        [Piece::Text(name)] if is_cmdlet(name) => command.cmdlet.clone_from(name),
        _ => return Err("This is no command.".to_owned()),
    }
    while let Some(token) = tokens.next() {
        match token {
            Token::Parameter(name) => {
                let mut value = Word::new();
                if let Some(Token::Word(word)) = tokens.next_if(|token| matches!(token, Token::Word(_))) {
                    value = word;
                }
                while tokens.next_if_eq(&Token::Comma).is_some() {
                    let Some(Token::Word(more)) = tokens.next() else {
                        return Err("A value is missing after ','.".to_owned());
                    };
                    value.push(Piece::Text(",".to_owned()));
                    value.extend(more);
                }
                command.parameters.push((name, value));
            }
            Token::Pipe => return pipe::piped(command, tokens.collect()).map(Some),
            _ => return Err(format!("{} takes its values by name.", command.cmdlet)),
        }
    }
    Ok(Some(command))
}

/// `Verb-Noun`.
fn is_cmdlet(text: &str) -> bool {
    text.split_once('-').is_some_and(|(verb, noun)| {
        [verb, noun].iter().all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphabetic()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    postroom_fuzz::targets! {
        sandbox_script: [
            "Connect-ExchangeOnline\n$x = New-ServicePrincipal -AppId 'a' -ObjectId \"$b.Id\"\nGet-X -Identity $x.Id | Where-Object { $_.Role -eq 'y' } | Remove-X -Confirm:$false\n<# c #>\nAdd-Y `\n -A b,c\nif (-not (Get-X | Where-Object { $_.P -eq 'v' })) { New-X -P 'v' }",
        ] => |bytes| read(&String::from_utf8_lossy(bytes)).map(|commands| {
            commands.into_iter().map(|command| command.filled(&Map::new()).map(|filled| filled.cmdlet)).collect::<Vec<_>>()
        }),
    }

    #[test]
    fn commands_variables_and_continuations_are_read() {
        let text = "# a comment\n<# block\n#>\n$app = \"1\"\n$g = New-Thing -Name 'It''s' `\n  -Other \"x $app $($g.Dn)\" | Out-Null\n\
            Do-It -Confirm:$false -List a, b # end\nDo-It -Ids (@('a', \"b\") + $app -join ',') -Last x";
        let commands = read(text).unwrap();
        assert!(commands.iter().all(|command| command.unless.is_none()));
        assert_eq!(commands.iter().map(|c| c.line).collect::<Vec<_>>(), [4, 5, 7, 8]);
        let mut variables = Map::new();
        variables.insert("app".to_owned(), "1".into());
        variables.insert("g".to_owned(), serde_json::json!({"dn": "CN=g"}));
        let filled: Vec<Filled> = commands.into_iter().map(|c| c.filled(&variables).unwrap()).collect();
        assert_eq!((filled[0].into.as_deref(), filled[0].text.as_str()), (Some("app"), "1"));
        assert_eq!((filled[1].get("name"), filled[1].get("other")), (Some("It's"), Some("x 1 CN=g")));
        assert_eq!((filled[2].get("confirm"), filled[2].get("List")), (Some("false"), Some("a,b")));
        assert_eq!((filled[3].get("Ids"), filled[3].get("Last")), (Some("a,b,1"), Some("x")));
    }

    #[test]
    fn what_is_not_understood_is_named_by_line() {
        for (text, line) in [
            ("\n\nif ($x) { }", 3),
            ("if (-not (Get-It)) { New-It }", 1),
            ("if (-not (Get-It | Where-Object { $_.A -eq 'x' })) { New-It", 1),
            ("if (-not (Get-It | Where-Object { $_.A -eq 'x' })) { }", 1),
            ("Get-It positional", 1),
            ("Get-It -Name \"open", 1),
            ("Get-It | Remove-It", 1),
            ("Get-It | Where-Object { $_.A -like 'x' } | Remove-It", 1),
            ("Get-It | Where-Object { $_.A -eq 'x' }", 1),
            ("Get-It | Where-Object { $_.A -eq 'x' -or $_.B -eq 'y' } | Remove-It", 1),
            ("Get-It | Where-Object { $_.A -eq 'x' } | Remove-It | Out-Null", 1),
            ("$x = Get-It; Get-It", 1),
            ("Get-It -Ids (@('a', 'b'", 1),
            ("Get-It -Ids (@('a') -split ',')", 1),
        ] {
            assert_eq!(read(text).unwrap_err().line, line, "{text}");
        }
    }
}
