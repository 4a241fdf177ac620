//! Exchange Web Services (EWS): wire types in both directions, and a client.
//!
//! For Exchange on premises, where EWS stays; and for those mailboxes of Exchange Online whose tenant still lets the
//! application in, until it ends there on 1 April 2027
//! (<https://learn.microsoft.com/exchange/clients-and-mobile-in-exchange-online/deprecation-of-ews-exchange-online>).
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | [`client`] | the calls, over HTTP |
//! | [`EwsError`] | what goes wrong, and what it means: again, never again, or somebody has to act |
//! | [`wire`] | every request and answer as a type; for clients and servers alike |
//!
//! # What is supported
//!
//! - Folders opened, found and made; items found, read, synchronised, made, changed, moved, deleted and sent;
//!   attachments made and read; names resolved; time zones; streaming notifications.
//! - The level of the schema that is written is Exchange 2013 SP1; answers of later servers are read, what is unknown in
//!   them is passed over.
//!
//! - Sign-in with a token of Microsoft Entra or with Basic; not with NTLM or Kerberos.
//!
//! An operation is added in [`wire`], a call in [`client`]; their heads say how.

pub mod client;
mod error;
pub mod wire;

pub use client::{Autodiscover, EwsClient, SignIn};
pub use error::{EwsError, Refused};
