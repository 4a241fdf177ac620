//! What is not about mail: people looked up, time zones, other forms of ids.

use postroom_ews::wire::{
    ConvertId, GetServerTimeZones, Mailbox, Nothing, Period, Resolution, ResolutionSet, ResolveNames,
    Resolved, ResponseClass, ResponseMessage, TimeZoneDefinition, TimeZones,
};
use sqlx::Row;

use super::desk::Desk;
use super::refusal::{Refused, Trouble};
use crate::mail::ids;

/// Most candidates.
const MOST: usize = 100;

pub(super) async fn resolve(
    desk: &Desk,
    request: &ResolveNames,
) -> Result<ResponseMessage<Resolved>, Refused> {
    let mut tx = desk.begin().await?;
    let rows =
        sqlx::query("SELECT address, display_name FROM user ORDER BY address").fetch_all(&mut *tx).await?;
    let entry = request.entry.trim().to_lowercase();
    let exact = entry.strip_prefix("smtp:");
    let meets = |address: &str, name: &str| match exact {
        Some(wanted) => address.eq_ignore_ascii_case(wanted),
        None => !entry.is_empty() && (address.to_lowercase().starts_with(&entry) || begins(name, &entry)),
    };
    let mut found = Vec::new();
    for row in &rows {
        let (address, name): (String, String) = (row.get("address"), row.get("display_name"));
        if meets(&address, &name) {
            let mailbox = Mailbox {
                name: Some(name),
                address: Some(address),
                routing_type: Some("SMTP".to_owned()),
                kind: Some("Mailbox".to_owned()),
            };
            found.push(Resolution { mailbox });
        }
    }
    if found.is_empty() {
        return Ok(Trouble::new("ErrorNameResolutionNoResults", "No results were found.").message());
    }
    let several = found.len() > 1;
    let is_last = found.len() <= MOST;
    found.truncate(MOST);
    let set =
        ResolutionSet { total: u32::try_from(found.len()).ok(), is_last: Some(is_last), resolutions: found };
    let mut message = ResponseMessage::success(Resolved { set: Some(set) });
    if several {
        message.class = ResponseClass::Warning;
        message.code = "ErrorNameResolutionMultipleResults".to_owned();
        message.text = Some("Multiple results were found.".to_owned());
    }
    Ok(message)
}

/// Whether one of the words of a name begins so, or the name as a whole.
fn begins(name: &str, entry: &str) -> bool {
    let name = name.to_lowercase();
    name.starts_with(entry) || name.split_whitespace().any(|word| word.starts_with(entry))
}

/// Zones without their rules of change.
const ZONES: [(&str, &str, &str); 3] = [
    ("UTC", "(UTC) Coordinated Universal Time", "PT0S"),
    ("W. Europe Standard Time", "(UTC+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna", "-PT60M"),
    ("Eastern Standard Time", "(UTC-05:00) Eastern Time (US & Canada)", "PT300M"),
];

pub(super) fn time_zones(request: &GetServerTimeZones) -> ResponseMessage<TimeZones> {
    let wanted = |id: &str| request.ids.is_empty() || request.ids.iter().any(|one| one == id);
    let zones = ZONES.iter().filter(|(id, ..)| wanted(id));
    let zone = |(id, name, bias): &(&str, &str, &str)| TimeZoneDefinition {
        id: Some((*id).to_owned()),
        name: Some((*name).to_owned()),
        periods: vec![Period {
            bias: (*bias).to_owned(),
            name: "Standard".to_owned(),
            id: format!("trule:Microsoft/Registry/{id}/1-Standard"),
        }],
    };
    ResponseMessage::success(TimeZones { definitions: zones.map(zone).collect() })
}

/// Ids here have one form only, so nothing is converted: the answer says what is wrong with each.
pub(super) fn convert(request: &ConvertId) -> Vec<ResponseMessage<Nothing>> {
    let one = |id: &postroom_ews::wire::AlternateId| match ids::well_formed(&id.id) {
        false => Trouble::malformed_id().message(),
        true => {
            let text = "The sandbox's ids have no other form.";
            Trouble::new("ErrorUnsupportedTypeForConversion", text).message()
        }
    };
    request.ids.iter().take(super::desk::MOST_PARTS).map(one).collect()
}
