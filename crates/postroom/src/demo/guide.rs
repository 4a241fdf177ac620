//! The narrator: one line per step of the guide, with what was done and what came back; and what was found wrong.

use crate::output;

/// Tells the story and remembers what did not hold.
#[derive(Debug, Default)]
pub(super) struct Guide {
    steps: u32,
    verified: u32,
    wrong: Vec<String>,
}

impl Guide {
    /// A heading.
    pub(super) fn chapter(&self, title: &str) {
        output::data(format!("\n{title}"));
    }

    /// A step: its number in the guide, what was done, what came back.
    pub(super) fn step(&mut self, number: &str, did: &str, got: impl AsRef<str>) {
        self.steps += 1;
        output::data(format!("  {number:<4} {did}"));
        for line in got.as_ref().lines() {
            output::data(format!("       -> {line}"));
        }
    }

    /// Something that must hold. Said only when it does not; counted in any case.
    pub(super) fn verify(&mut self, holds: bool, what: impl Into<String>) {
        self.verified += 1;
        if !holds {
            let what = what.into();
            output::data(format!("       WRONG: {what}"));
            self.wrong.push(what);
        }
    }

    /// The last words, and whether all went well.
    pub(super) fn close(&self, seconds: f64) -> bool {
        let (steps, verified) = (self.steps, self.verified);
        if self.wrong.is_empty() {
            output::data(format!(
                "\n{steps} steps, {verified} facts verified, nothing wrong, {seconds:.1} s"
            ));
            return true;
        }
        output::data(format!("\n{steps} steps, {} of {verified} facts are wrong:", self.wrong.len()));
        for what in &self.wrong {
            output::data(format!("  - {what}"));
        }
        false
    }
}
