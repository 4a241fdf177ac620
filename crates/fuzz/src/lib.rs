//! Hands mutated input to a parser for a bounded time, and fails when it panics or takes too long.
//!
//! It is random mutation, steered by what the parser answers and not by coverage: an input whose answer nobody saw
//! before (digits apart) is kept and mutated further. Coverage needs instrumentation that the stable compiler has no
//! stable flag for; where that is worth it, the same targets and seeds can be handed to libFuzzer.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | here | [`targets!`], and the loop |
//! | `mutate` | how an input becomes another |
//! | `corpus/NAME/` | inputs that every run hands to the target first: what once failed |
//! | `tests/targets.rs` | the targets of public parsers |
//!
//! Parsers that no other crate sees have their targets beside them, in the tests of their file. Each target is a test in a
//! module named `fuzz`: `cargo xtask fuzz [--seconds N] [TARGET]` runs them all or one, and the tests of a crate run each
//! for [`SECONDS`].
//!
//! # How to add a target
//!
//! One line in a list: its name, seeds, and what is done with the bytes. What it returns is what steers.
//! A failure writes its input to a file that it names: put that file into `corpus/NAME/`, then repair.

mod mutate;

use std::any::Any;
use std::collections::HashSet;
use std::fmt::{self, Debug, Write};
use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mutate::Mutator;

/// How long each target runs where nobody says otherwise (`POSTROOM_FUZZ_SECONDS`).
pub const SECONDS: u64 = 2;
/// How long one input may take. A debug build on a busy machine takes a hundredth of it for what is in bounds.
const SLOW: Duration = Duration::from_secs(10);
/// Inputs that are kept.
const MOST_KEPT: usize = 2_000;
/// Letters of an answer that are looked at.
const LOOKED_AT: usize = 400;

/// Makes a module `fuzz` with one test for each target: `name: seeds => |bytes| answer,`. Seeds are texts; the answer
/// is anything that can be shown.
#[macro_export]
macro_rules! targets {
    ($($name:ident: $seeds:expr => $target:expr,)*) => {
        mod fuzz {
            #[allow(unused_imports, reason = "a target needs nothing of its crate")]
            use super::*;
            $(
                #[test]
                fn $name() {
                    $crate::run(stringify!($name), &$seeds, $target);
                }
            )*
        }
    };
}

/// Runs one target: first its corpus and its seeds, then what is made of them, until its time is over.
///
/// # Panics
/// When the target panics or is slow; the input is in the file that is named.
pub fn run<A: Debug>(name: &str, seeds: &[&str], target: impl Fn(&[u8]) -> A) {
    let number = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    let budget = Duration::from_secs(number("POSTROOM_FUZZ_SECONDS").unwrap_or(SECONDS));
    let chance = number("POSTROOM_FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(name));
    let mut kept: Vec<Vec<u8>> = corpus(name);
    kept.extend(seeds.iter().map(|seed| seed.as_bytes().to_vec()));
    kept.push(Vec::new());
    let mut mutator = Mutator::new(chance, &kept);
    let (begun, mut seen, mut runs) = (Instant::now(), HashSet::new(), kept.len());
    for input in &kept {
        seen.insert(tried(name, chance, input, &target));
    }
    while begun.elapsed() < budget {
        let input = mutator.next(&kept);
        if seen.insert(tried(name, chance, &input, &target)) && kept.len() < MOST_KEPT {
            kept.push(input);
        }
        runs += 1;
    }
    assert!(runs > kept.len().min(10), "{name}: only {runs} inputs in {budget:?}");
}

/// Hands one input to the target; gives a digest of its answer.
fn tried<A: Debug>(name: &str, chance: u64, input: &[u8], target: impl Fn(&[u8]) -> A) -> u64 {
    let begun = Instant::now();
    let answer = catch_unwind(AssertUnwindSafe(|| {
        let mut shape = Shape { hasher: DefaultHasher::new(), left: LOOKED_AT };
        // It ends early, as an error, when enough was looked at.
        let _ = write!(shape, "{:?}", target(input));
        shape.hasher.finish()
    }));
    let took = begun.elapsed();
    match answer {
        Ok(shape) if took < SLOW => shape,
        Ok(_) => failed(name, chance, input, &format!("took {took:?}")),
        Err(panic) => failed(name, chance, input, &words(&*panic)),
    }
}

fn failed(name: &str, chance: u64, input: &[u8], words: &str) -> ! {
    let mut digest = DefaultHasher::new();
    digest.write(input);
    let file = std::env::temp_dir().join(format!("postroom-fuzz-{name}-{:016x}", digest.finish()));
    let written = match std::fs::write(&file, input) {
        Ok(()) => format!("its input is in {}", file.display()),
        Err(error) => format!("its input could not be written: {error}"),
    };
    let shown: String = input.escape_ascii().to_string().chars().take(1_000).collect();
    panic!("{name}: {words}; {written} (POSTROOM_FUZZ_SEED={chance}): {shown}")
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

/// The committed inputs of a target, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().filter_map(|file| std::fs::read(file).ok()).collect()
}

/// What an answer looks like, digits apart.
struct Shape {
    hasher: DefaultHasher,
    left: usize,
}

impl Write for Shape {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes().filter(|byte| !byte.is_ascii_digit()) {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            self.hasher.write_u8(byte);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_behind_three_steps_is_found_and_its_input_named() {
        let found = catch_unwind(|| {
            run("three_steps", &["GET /index"], |bytes| {
                let depth =
                    [b'x', b'y', b'z'].iter().zip(bytes).take_while(|(want, got)| want == got).count();
                assert!(depth < 3, "three steps deep");
                ["none", "one", "two"][depth]
            });
        });
        let words = words(&*found.unwrap_err());
        let (_, rest) = words.split_once("its input is in ").unwrap();
        let file = rest.split(' ').next().unwrap();
        assert!(
            words.starts_with("three_steps: three steps deep")
                && std::fs::read(file).unwrap().starts_with(b"xyz")
        );
        std::fs::remove_file(file).unwrap();
    }
}
