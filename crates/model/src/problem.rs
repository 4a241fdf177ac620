//! What validation finds. An error blocks saving; a warning does not; both name the field they belong to.

use serde::{Deserialize, Serialize};

/// Whether a problem blocks saving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Blocks saving.
    Error,
    /// Is shown and does not block.
    Warning,
}

/// One thing that is wrong, at one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Name of the field, as in the API and in the page's forms: `application_id`.
    pub field: String,
    /// Whether it blocks.
    pub severity: Severity,
    /// One sentence: `Application (client) ID is missing`.
    pub message: String,
    /// What to do about it, when the sentence does not say so already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Problems, errors first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// No problem.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an error at `field`.
    pub fn error(&mut self, field: &str, message: impl Into<String>) -> &mut Problem {
        self.push(Severity::Error, field, message.into())
    }

    /// Adds a warning at `field`.
    pub fn warning(&mut self, field: &str, message: impl Into<String>) -> &mut Problem {
        self.push(Severity::Warning, field, message.into())
    }

    fn push(&mut self, severity: Severity, field: &str, message: String) -> &mut Problem {
        // Errors stay in front of warnings, each group in the order of the form.
        let at = self.0.iter().position(|known| known.severity > severity).unwrap_or(self.0.len());
        self.0.insert(at, Problem { field: field.to_owned(), severity, message, hint: None });
        &mut self.0[at]
    }

    /// Appends all of `others`.
    pub fn extend(&mut self, others: Problems) {
        for problem in others.0 {
            self.push(problem.severity, &problem.field, problem.message).hint = problem.hint;
        }
    }

    /// All problems, errors first.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// Those that block saving.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter().filter(|problem| problem.severity == Severity::Error)
    }

    /// Those that do not block.
    pub fn warnings(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter().filter(|problem| problem.severity == Severity::Warning)
    }

    /// The first problem at `field`, an error before a warning.
    pub fn at(&self, field: &str) -> Option<&Problem> {
        self.0.iter().find(|problem| problem.field == field)
    }

    /// Whether saving is blocked.
    pub fn blocks(&self) -> bool {
        self.errors().next().is_some()
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `Ok` when nothing blocks.
    ///
    /// # Errors
    /// The errors, without the warnings beside them.
    pub fn into_result(mut self) -> Result<(), Problems> {
        self.0.retain(|problem| problem.severity == Severity::Error);
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl Problem {
    /// Adds what to do about it.
    pub fn hint(&mut self, hint: impl Into<String>) {
        self.hint = Some(hint.into());
    }
}

impl std::fmt::Display for Problems {
    /// One line; what does not block is marked.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}: {}", problem.field, problem.message)?;
            if problem.severity == Severity::Warning {
                f.write_str(" (warning)")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_first_and_only_they_block() {
        let mut problems = Problems::new();
        problems.warning("port", "unusual port");
        assert!(!problems.blocks());
        problems.error("server", "Server address is missing");
        problems.error("tenant_id", "Directory (tenant) ID is missing");
        let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, ["server", "tenant_id", "port"]);
        assert!(problems.to_string().ends_with("; port: unusual port (warning)"), "{problems}");
        let errors = problems.into_result().unwrap_err();
        assert_eq!(errors.iter().count(), 2, "a warning is not told as an error");
        let mut warnings = Problems::new();
        warnings.warning("port", "unusual port");
        assert_eq!(warnings.into_result(), Ok(()));
    }
}
