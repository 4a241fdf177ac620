//! The demo's messages, each with what a reader sees of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use postroom_mime::read;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../postroom/src/demo/corpus")
}

fn messages() -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    found.sort();
    found
}

fn shown(raw: &[u8]) -> String {
    let view = read::view(raw).unwrap();
    let summary = &view.summary;
    let mut out = String::new();
    let list = |addresses: &[postroom_model::NamedAddress]| {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
    };
    let _ = writeln!(out, "from:       {}", summary.from.iter().map(ToString::to_string).collect::<String>());
    let _ = writeln!(out, "to:         {}", list(&summary.to));
    let _ = writeln!(out, "cc:         {}", list(&summary.cc));
    let _ = writeln!(out, "subject:    {}", summary.subject);
    let _ = writeln!(out, "date:       {:?}", summary.date.map(|date| date.to_string()));
    let _ = writeln!(out, "message id: {:?}", summary.message_id);
    let _ = writeln!(out, "references: {:?}", summary.references);
    let _ = writeln!(out, "origin:     {}", summary.origin.as_str());
    let _ = writeln!(out, "files:      {}", summary.attachments);
    let _ = writeln!(out, "preview:    {}", summary.preview);
    let _ = writeln!(out, "headers:    {}", view.headers.len());
    for file in &view.attachments {
        let _ = writeln!(
            out,
            "file {}:     {} | {} | {} bytes | id {:?} | inline {}",
            file.index, file.name, file.content_type, file.size, file.content_id, file.inline
        );
    }
    let _ = writeln!(out, "text:\n{}", view.text);
    if let Some(html) = view.html {
        let _ = writeln!(out, "html, {} remote pictures blocked:\n{}", html.blocked_remote, html.html.trim());
    }
    out
}

#[test]
fn every_message_is_read_as_a_person_would() {
    let messages = messages();
    assert!(messages.len() >= 12, "{} messages", messages.len());
    for (name, raw) in messages {
        insta::assert_snapshot!(name.trim_end_matches(".eml"), shown(&raw));
    }
}

#[test]
fn every_attachment_opens_under_its_index() {
    for (name, raw) in messages() {
        let infos = read::view(&raw).unwrap().attachments;
        for info in &infos {
            let file = read::attachment(&raw, info.index).unwrap().unwrap();
            assert_eq!(&file.info, info, "{name}");
            assert_eq!(file.content.len() as u64, info.size, "{name}");
        }
        assert_eq!(read::attachment(&raw, infos.len()).unwrap(), None, "{name}");
    }
}

#[test]
fn files_are_as_small_and_have_the_line_ends_the_demo_needs() {
    for (name, raw) in messages() {
        let text = String::from_utf8_lossy(&raw).replace("\r\n", "");
        assert!(!text.contains(['\r', '\n']), "{name} holds a bare line end");
        assert!(raw.len() < 4_000, "{name}");
    }
}
