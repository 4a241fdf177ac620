//! Documents compared with Microsoft's schema by xmllint. The schema is Microsoft's and no part of this repository: it is
//! looked for beside it, in `../shared/schemas/ews`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the schema, where it is there.
pub(crate) fn schemas() -> Option<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    // Beside the repository, or beside the folder that holds several work trees of it.
    let places = repository.ancestors().skip(1).take(2).map(|place| place.join("shared/schemas/ews"));
    places.into_iter().find(|place| place.join("messages.xsd").is_file())
}

/// The operation's element as a document of its own.
pub(crate) fn body(envelope: &[u8]) -> String {
    let text = std::str::from_utf8(envelope).unwrap();
    let (_, rest) = text.split_once("Body>").unwrap();
    let (body, _) = rest.rsplit_once("</").unwrap().0.rsplit_once("</").unwrap();
    let end = body.find([' ', '>', '/']).unwrap();
    let spaces = r#" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types" xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages""#;
    format!("{}{spaces}{}", &body[..end], &body[end..])
}

/// Asks once about all documents: loading the schema takes most of the time.
pub(crate) fn check(documents: &[(String, String)], schema: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("xmllint");
    command.arg("--noout").arg("--schema").arg(schema);
    for (name, document) in documents {
        let file = folder.path().join(format!("{name}.xml"));
        std::fs::write(&file, document).unwrap();
        command.arg(file);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
