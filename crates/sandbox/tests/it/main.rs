//! The sandbox over real HTTP, as a client meets it.

#[cfg(test)]
mod control;
#[cfg(test)]
mod delta;
#[cfg(test)]
mod directory;
#[cfg(test)]
mod doors;
#[cfg(test)]
mod entra;
#[cfg(test)]
mod ews;
#[cfg(test)]
mod ews_exchangelib;
#[cfg(test)]
mod exchange;
#[cfg(test)]
mod flows;
mod graph;
#[cfg(test)]
mod imap;
#[cfg(test)]
mod mail;
#[cfg(test)]
mod smtp;
#[cfg(test)]
mod support;
