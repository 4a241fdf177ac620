//! The messages that CPython ships as test data of its `email` package: forty years of oddities, read as they are.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use postroom_mime::eml;
use postroom_mime::read::{self, Unreadable};
use postroom_model::draft::{Attachment, Draft, Signature};

fn data() -> PathBuf {
    let script = "import test.test_email, os; print(os.path.dirname(test.test_email.__file__))";
    let output = Command::new("python3").args(["-c", script]).output().expect("python3 runs");
    assert!(output.status.success(), "python3 has no test data: {}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).expect("a path in UTF-8").trim()).join("data")
}

/// The draft as Python's own `email` package reads it: `From`, `Bcc`, both bodies and the file are there, and the parser
/// finds no defect.
#[test]
#[ignore = "needs python3; run by cargo xtask test"]
fn a_draft_is_read_by_python_without_a_defect() {
    let draft = Draft {
        from: "Bestellungen Größe <orders@contoso.example>".into(),
        to: vec!["Ann <ann@fabrikam.example>".into()],
        bcc: vec!["audit@contoso.example".into()],
        subject: "Größe 4711".into(),
        text: Some("Guten Tag".into()),
        attachments: vec![Attachment {
            name: "Größe.pdf".into(),
            content_type: "application/pdf".into(),
            content: b"%PDF-1.7".to_vec(),
            content_id: None,
        }],
        ..Draft::default()
    };
    let signature = Signature { text: None, html: Some("<p>Ann <b>Größe</b></p>".into()) };
    let raw = eml::unsent(&eml::signed(draft, &signature).validate().expect("a valid draft"), "seed");
    let script = "
import email, email.policy, json, sys
m = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
defects = [repr(d) for part in m.walk() for d in part.defects]
print(json.dumps([m['X-Unsent'], m['From'], m['Bcc'], m['Subject'], m['Date'], m['Message-ID'],
    m.get_body(('plain',)).get_content().strip(), 'Größe</b>' in m.get_body(('html',)).get_content(),
    [(a.get_filename(), a.get_content().decode()) for a in m.iter_attachments()], defects]))";
    let mut child = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    child.stdin.take().expect("a pipe").write_all(&raw).expect("python3 reads");
    let output = child.wait_with_output().expect("python3 ends");
    let read: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let expected = serde_json::json!([
        "1",
        "Bestellungen Größe <orders@contoso.example>",
        "audit@contoso.example",
        "Größe 4711",
        null,
        null,
        "Guten Tag\n\nAnn Größe",
        true,
        [["Größe.pdf", "%PDF-1.7"]],
        [],
    ]);
    assert_eq!(read, expected);
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
