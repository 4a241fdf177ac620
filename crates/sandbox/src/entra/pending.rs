//! Sign-ins under way: device codes that wait for a person, and codes that were redeemed. They live as long as the
//! process, and no longer than a quarter of an hour.

use std::collections::HashMap;

/// Most device codes, and most redeemed codes, at the same time.
const MOST: usize = 2000;

/// A device code somebody asked for.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(super) user_code: String,
    pub(super) app_id: String,
    pub(super) scope: String,
    pub(super) expires: i64,
    pub(super) asked: Option<i64>,
    pub(super) interval: i64,
    pub(super) outcome: Outcome,
}

/// What the person did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing yet.
    Waiting,
    /// Signed in: the user's object id.
    Approved(String),
    /// Refused.
    Declined,
}

/// All sign-ins under way.
#[derive(Default)]
pub(crate) struct Pending {
    devices: HashMap<String, Device>,
    redeemed: HashMap<String, i64>,
}

impl Pending {
    /// Remembers a device code; false when too many wait. Expired ones are kept for a while, to be named as such.
    pub(super) fn add(&mut self, code: String, device: Device, now: i64) -> bool {
        self.devices.retain(|_, device| device.expires + 3600 > now);
        let room = self.devices.len() < MOST;
        if room {
            self.devices.insert(code, device);
        }
        room
    }

    pub(super) fn device(&mut self, code: &str) -> Option<&mut Device> {
        self.devices.get_mut(code)
    }

    pub(super) fn by_user_code(&mut self, user_code: &str) -> Option<&mut Device> {
        let bare: String = user_code.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
        self.devices.values_mut().find(|device| device.user_code.eq_ignore_ascii_case(&bare))
    }

    pub(super) fn forget(&mut self, code: &str) {
        self.devices.remove(code);
    }

    /// Marks a code as used; false when it was before.
    pub(super) fn redeem(&mut self, id: &str, expires: i64, now: i64) -> bool {
        self.redeemed.retain(|_, end| *end > now);
        if self.redeemed.len() >= MOST {
            return false;
        }
        self.redeemed.insert(id.to_owned(), expires).is_none()
    }
}
