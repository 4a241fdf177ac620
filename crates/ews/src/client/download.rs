//! A message on its way from Exchange: its MIME is given as it comes, so that memory holds a piece of it only.

use bytes::Bytes;

use super::EwsClient;
use super::call::{Call, garbage, request_id};
use super::mail::answer_to;
use crate::error::EwsError;
use crate::wire::{Answer, MimeCutter, StreamError, parse_response};

/// A message that is being fetched.
pub struct MimeDownload {
    client: EwsClient,
    operation: String,
    mailbox: String,
    response: reqwest::Response,
    /// None once the answer has ended.
    cutter: Option<MimeCutter>,
}

impl MimeDownload {
    pub(super) fn new(
        client: EwsClient,
        operation: String,
        mailbox: &str,
        response: reqwest::Response,
        surroundings: usize,
    ) -> Self {
        let cutter = Some(MimeCutter::new(surroundings));
        Self { client, operation, mailbox: mailbox.to_owned(), response, cutter }
    }

    /// The next piece; none when the message was complete.
    ///
    /// # Errors
    /// [`EwsError`], before the first piece when Exchange refuses ([`EwsError::is_item_not_found`]). What came until
    /// then is worth nothing.
    pub async fn next(&mut self) -> Result<Option<Bytes>, EwsError> {
        while let Some(cutter) = &mut self.cutter {
            let chunk = self.response.chunk().await.map_err(|source| EwsError::Network {
                operation: self.operation.clone(),
                handed_over: true,
                source: source.without_url(),
            })?;
            let Some(chunk) = chunk else { return self.end().map(|()| None) };
            let piece = cutter.push(&chunk).map_err(|error| match error {
                StreamError::TooLarge { limit } => {
                    EwsError::TooLarge { operation: self.operation.clone(), limit: limit as u64 }
                }
                StreamError::Malformed(what) => garbage(&self.operation, 200, what),
            })?;
            if !piece.is_empty() {
                return Ok(Some(piece.into()));
            }
        }
        Ok(None)
    }

    /// Reads what surrounded the message: only now it is known whether all is well.
    fn end(&mut self) -> Result<(), EwsError> {
        let Some(cutter) = self.cutter.take() else { return Ok(()) };
        let has_message = cutter.has_message();
        let call = Call {
            operation: self.operation.clone(),
            mailbox: &self.mailbox,
            body: Bytes::new(),
            timeout: None,
        };
        let id = request_id(self.response.headers());
        let told = match parse_response(&cutter.finish()).map(|envelope| envelope.answer) {
            Ok(Answer::Response(response)) => super::call::Answered { response, request_id: id },
            Ok(Answer::Fault(fault)) => return Err(self.client.fault(&call, 200, id, fault)),
            Err(error) => return Err(garbage(&self.operation, 200, error.to_string())),
        };
        let id = told.request_id.clone();
        self.client.only(&call, answer_to!(GetItem, told, call)?, id.as_deref())?;
        if has_message {
            return Ok(());
        }
        Err(garbage(&self.operation, 200, "an answer without MimeContent".to_owned()))
    }
}
