//! Availability as a part of queries: what a viewer may see is asked of the database, never filtered afterwards.

use postroom_model::people::Viewer;

use super::db::Query;
use super::rows::{hex_list, key, text_list};

/// Holds for a row `b` of `mailboxes` that the viewer in parameters $1 (user), $2 (groups), $3 (roles) may see; the
/// same question as `Availability::allows`.
macro_rules! mailbox_is_visible {
    () => {
        "(b.available_to_all = 1
          OR EXISTS (SELECT 1 FROM mailbox_users a WHERE a.mailbox = b.id AND a.member = $1)
          OR EXISTS (SELECT 1 FROM mailbox_groups a WHERE a.mailbox = b.id
                     AND a.member IN (SELECT unhex(value) FROM json_each($2)))
          OR EXISTS (SELECT 1 FROM mailbox_roles a WHERE a.mailbox = b.id
                     AND a.member IN (SELECT value FROM json_each($3))))"
    };
}

/// Holds for a row `m` of `inbox` that came to a mailbox the viewer may see.
macro_rules! message_is_visible {
    () => {
        concat!(
            "EXISTS (SELECT 1 FROM inbox_mailboxes p JOIN mailboxes b ON b.id = p.mailbox
                     WHERE p.message = m.sequence AND ",
            crate::sql::visible::mailbox_is_visible!(),
            ")"
        )
    };
}

pub(super) use {mailbox_is_visible, message_is_visible};

/// Binds the viewer to $1, $2 and $3.
pub(super) fn for_viewer(query: Query, viewer: &Viewer) -> Query {
    query
        .bind(key(viewer.user.as_uuid()))
        .bind(hex_list(viewer.groups.iter().map(|group| group.as_uuid())))
        .bind(text_list(viewer.roles.iter().map(|role| role.as_str())))
}
