//! What a message is made of on the command line: the arguments that `postroom send` and `postroom draft` share.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use postroom_engine::intake::IntakeError;
use postroom_mime::eml;
use postroom_model::draft::{Attachment, Draft, Signature};

use crate::output::hinted;

#[derive(Debug, Args)]
pub(super) struct MessageArguments {
    /// Sender: a@b or "Name <a@b>"
    #[arg(long)]
    from: String,
    /// Recipient; can be given several times
    #[arg(long = "to", value_name = "ADDRESS")]
    to: Vec<String>,
    /// Copy; can be given several times
    #[arg(long = "cc", value_name = "ADDRESS")]
    cc: Vec<String>,
    /// Blind copy; can be given several times
    #[arg(long = "bcc", value_name = "ADDRESS")]
    bcc: Vec<String>,
    /// Where answers go
    #[arg(long = "reply-to", value_name = "ADDRESS")]
    reply_to: Vec<String>,
    /// Subject
    #[arg(long, default_value = "")]
    subject: String,
    /// Body as text
    #[arg(long, conflicts_with = "text_file")]
    text: Option<String>,
    /// File with the body as text, - for standard input
    #[arg(long, value_name = "FILE")]
    text_file: Option<PathBuf>,
    /// File with the body as HTML
    #[arg(long, value_name = "FILE")]
    html_file: Option<PathBuf>,
    /// File with the signature as text, put below the body
    #[arg(long, value_name = "FILE")]
    signature_file: Option<PathBuf>,
    /// File with the signature as HTML, put below the body
    #[arg(long, value_name = "FILE")]
    signature_html_file: Option<PathBuf>,
    /// File to attach; can be given several times
    #[arg(long = "attach", value_name = "FILE")]
    attach: Vec<PathBuf>,
}

impl MessageArguments {
    /// The message, signed. The files are read here.
    pub(super) fn into_draft(self) -> anyhow::Result<Draft> {
        let text = match (self.text, self.text_file) {
            (Some(text), _) => Some(text),
            (None, Some(path)) if path.as_os_str() == "-" => {
                Some(std::io::read_to_string(std::io::stdin()).context("read the body from standard input")?)
            }
            (None, Some(path)) => Some(read_text(&path)?),
            (None, None) => None,
        };
        let read = |path: Option<PathBuf>| path.as_deref().map(read_text).transpose();
        let signature = Signature { text: read(self.signature_file)?, html: read(self.signature_html_file)? };
        let draft = Draft {
            from: self.from,
            to: self.to,
            cc: self.cc,
            bcc: self.bcc,
            reply_to: self.reply_to,
            subject: self.subject,
            text,
            html: read(self.html_file)?,
            headers: Vec::new(),
            attachments: self.attach.iter().map(|path| attachment(path)).collect::<anyhow::Result<_>>()?,
        };
        Ok(eml::signed(draft, &signature))
    }
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

fn attachment(path: &Path) -> anyhow::Result<Attachment> {
    let content = std::fs::read(path).with_context(|| format!("read the attachment {}", path.display()))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let content_type = match path.extension().and_then(|e| e.to_str()).unwrap_or_default() {
        "pdf" => "application/pdf",
        "xml" => "application/xml",
        "txt" => "text/plain",
        "csv" => "text/csv",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        _ => "application/octet-stream",
    };
    Ok(Attachment { name, content_type: content_type.to_owned(), content, content_id: None })
}

/// Why a message was refused, with its next step. Problems of its fields are shown on the way.
pub(super) fn refused(error: IntakeError, otherwise: &'static str) -> anyhow::Error {
    match error {
        IntakeError::Invalid(problems) => {
            super::connection::show(&problems);
            anyhow::anyhow!(otherwise)
        }
        IntakeError::DraftsOnly => hinted(
            error.to_string(),
            "`postroom draft` with the same arguments makes the .eml file; Outlook opens and sends it",
        ),
        error => match error.hint() {
            Some(hint) => hinted(error.to_string(), hint),
            None => error.into(),
        },
    }
}
