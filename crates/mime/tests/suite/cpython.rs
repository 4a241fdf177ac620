//! The messages that CPython ships as test data of its `email` package: forty years of oddities, read as they are.

use std::path::PathBuf;
use std::process::Command;

use postroom_mime::read::{self, Unreadable};

fn data() -> PathBuf {
    let script = "import test.test_email, os; print(os.path.dirname(test.test_email.__file__))";
    let output = Command::new("python3").args(["-c", script]).output().expect("python3 runs");
    assert!(output.status.success(), "python3 has no test data: {}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).expect("a path in UTF-8").trim()).join("data")
}

#[test]
#[ignore = "needs CPython's test data; run by cargo xtask test"]
fn every_message_is_read_and_nearly_all_say_who_or_what() {
    let mut read_files = 0;
    let mut speaking = 0;
    let mut silent = Vec::new();
    let mut headless = Vec::new();
    for entry in std::fs::read_dir(data()).expect("the folder of test data") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let raw = std::fs::read(&path).expect("a readable file");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if read::summarize(&raw) == Err(Unreadable::NoHeader) {
            headless.push(name);
            continue;
        }
        let message = read::summarize(&raw).unwrap_or_else(|error| panic!("{name}: {error}"));
        let view = read::view(&raw).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(message.summary, view.summary, "{name}");
        for info in &view.attachments {
            assert!(read::attachment(&raw, info.index).is_ok_and(|file| file.is_some()), "{name}");
        }
        read_files += 1;
        if view.summary.subject.is_empty() && view.summary.from.is_none() {
            silent.push(name);
        } else {
            speaking += 1;
        }
    }
    silent.sort();
    println!(
        "{read_files} read, {speaking} with subject or sender, without: {silent:?}, no header: {headless:?}"
    );
    assert_eq!(headless, ["msg_19.txt"]); // a footer of a mailing list, which is no message
    assert!(read_files >= 45, "{read_files} messages found");
    assert!(speaking >= 40, "{speaking} of {read_files}; without: {silent:?}");
}
