//! Autodiscover version 2: where EWS is, told to everybody who asks.

use axum::http::Method;
use serde_json::json;

use crate::answer::{Answer, Refusal, bytes_answer};
use crate::call::Call;

/// `GET /autodiscover/autodiscover.json/v1.0/{address}?Protocol=EWS`, and the same with `?Email={address}`.
pub(crate) fn answer(call: &Call, rest: &[&str]) -> Answer {
    let email = match rest {
        [version, address] if version.eq_ignore_ascii_case("v1.0") => Some(*address),
        [] => call.param("Email"),
        _ => None,
    };
    if call.method != Method::GET {
        return Err(Refusal { status: 405, ..Refusal::no_route(call) });
    }
    let refused = |code: &str, message: &str| {
        let body = json!({"ErrorCode": code, "ErrorMessage": message});
        Ok(bytes_answer(400, "application/json; charset=utf-8", body.to_string().into_bytes()))
    };
    if !email.is_some_and(|email| email.contains('@')) {
        return refused("MandatoryParameterMissing", "A valid smtp address must be provided");
    }
    // It proves nothing: an address of nobody gets the same answer.
    match call.param("Protocol") {
        Some(protocol) if protocol.eq_ignore_ascii_case("ews") => {
            let url = format!("{}/EWS/Exchange.asmx", call.base);
            let body = json!({"Protocol": protocol, "Url": url});
            Ok(bytes_answer(200, "application/json; charset=utf-8", body.to_string().into_bytes()))
        }
        Some(_) => {
            refused("InvalidProtocol", "The given protocol value is invalid. Supported values are 'EWS'.")
        }
        None => refused("MandatoryParameterMissing", "Required parameter Protocol is missing"),
    }
}
