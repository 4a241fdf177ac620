//! Microsoft's own resources with their application roles and delegated scopes
//! (<https://learn.microsoft.com/graph/permissions-reference>).

use serde_json::{Value, json};

/// Application id of Microsoft Graph.
pub(crate) const GRAPH: &str = "00000003-0000-0000-c000-000000000000";

/// Application id of Exchange Online: IMAP, POP, SMTP and EWS.
pub(crate) const EXCHANGE: &str = "00000002-0000-0ff1-ce00-000000000000";

/// A resource that tokens are made for.
pub(crate) struct Resource {
    pub(crate) app_id: &'static str,
    pub(crate) name: &'static str,
    /// Names it has in a scope.
    pub(crate) uris: &'static [&'static str],
    /// Application permissions: value and id.
    pub(crate) roles: &'static [(&'static str, &'static str)],
    /// Delegated permissions: value and id.
    pub(crate) scopes: &'static [(&'static str, &'static str)],
}

/// The resources every tenant has.
pub(crate) const RESOURCES: &[Resource] = &[
    Resource {
        app_id: GRAPH,
        name: "Microsoft Graph",
        uris: &["https://graph.microsoft.com"],
        roles: &[
            ("Mail.Read", "810c84a8-4a9e-49e6-bf7d-12d183f40d01"),
            ("Mail.ReadWrite", "e2a3a72e-5f79-4c64-b1b1-878b674786c9"),
            ("Mail.Send", "b633e1c5-b582-4048-a93e-9f11b44c7e96"),
            ("Mail.ReadBasic", "6be147d2-ea4f-4b5a-a3fa-3eab6f3c140a"),
            ("Mail.ReadBasic.All", "693c5e45-0940-467d-9b8a-1022fb9d42ef"),
            ("MailboxSettings.Read", "40f97065-369a-49f4-947c-6a255697ae91"),
            ("MailboxSettings.ReadWrite", "6931bccd-447a-43d1-b442-00a195474933"),
            ("User.Read.All", "df021288-bdef-4463-88db-98f22de89214"),
            ("User.ReadBasic.All", "97235f07-e226-4f63-ace3-39588e11d3a1"),
            ("Directory.Read.All", "7ab1d382-f21e-4acd-a863-ba3e13f7da61"),
            ("Application.ReadWrite.OwnedBy", "18a4783c-866b-4cc7-a460-3d5e5662c884"),
            ("Application.ReadWrite.All", "1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9"),
            ("Application.Read.All", "9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30"),
            ("AppRoleAssignment.ReadWrite.All", "06b708a9-e830-4db3-a914-8e69da51d44f"),
        ],
        // Several public repositories agree on these; clients look scopes up by value, as they do roles.
        scopes: &[
            ("User.Read", "e1fe6dd8-ba31-4d61-89e7-88639da4683d"),
            // The next four are not confirmed.
            ("User.ReadBasic.All", "b340eb25-3456-403f-be2f-af7a0d370277"),
            ("openid", "37f7f235-527c-4136-accd-4a02d197296e"),
            ("profile", "14dad69e-099b-42c9-810b-d002981feec1"),
            ("email", "64a6cdd6-aab1-4aaf-94b8-3cc8405e90d0"),
            ("offline_access", "7427e0e9-2fba-42fe-b0c0-848c9e6a8182"),
            ("Mail.Send", "e383f46e-2787-4529-855e-0e479a3ffac0"),
            ("Mail.Read", "570282fd-fa5c-430d-a7fd-fc8dc98a9dca"),
            ("Mail.ReadWrite", "024d486e-b451-40bb-833d-3e66d98c5c73"),
            ("Mail.ReadWrite.Shared", "5df07973-7d5d-46ed-9847-1271055cbd51"),
            ("Mail.Send.Shared", "a367ab51-6b49-43bf-a716-a1fb06d2a174"),
        ],
    },
    Resource {
        app_id: EXCHANGE,
        name: "Office 365 Exchange Online",
        uris: &["https://outlook.office365.com", "https://outlook.office.com"],
        roles: &[
            ("full_access_as_app", "dc890d15-9560-4a4c-9b7f-a736ec74ec40"),
            ("Exchange.ManageAsApp", "dc50a0fb-09a3-484d-be87-e023b12c6440"),
            ("IMAP.AccessAsApp", "5e5addcd-3e8d-4e90-baf5-964efab2b20a"),
            ("POP.AccessAsApp", "cb842b43-da6e-4506-86fe-bb12199c656d"),
            // The real id is not documented, which is why clients look roles up by value.
            ("SMTP.SendAsApp", "5a9db0c5-0000-4000-8000-00005a9db0c5"),
        ],
        // From public repositories that agree, not from documentation.
        scopes: &[
            ("EWS.AccessAsUser.All", "3b5f3d61-589b-4a3c-a359-5dd4b5ee5bd5"),
            ("IMAP.AccessAsUser.All", "195adc35-e27b-454b-a7ed-1ecdffa1c09f"),
            ("POP.AccessAsUser.All", "fb698133-92fa-453e-a9ed-688e10f2e5ac"),
            ("SMTP.Send", "76faac2a-0f20-42f1-928a-50de5b9dbe52"),
            ("Exchange.Manage", "ab4f2b77-0b06-4fc1-a9de-02113fc2ab7c"),
        ],
    },
];

/// The resource of an application id.
pub(crate) fn resource(app_id: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|resource| resource.app_id == app_id)
}

/// The value of a role by its id.
pub(crate) fn role_value(resource: &Resource, id: &str) -> Option<&'static str> {
    resource.roles.iter().find(|(_, role)| *role == id).map(|(value, _)| *value)
}

/// `appRoles` of the resource's service principal.
pub(super) fn app_roles(resource: &Resource) -> Value {
    let roles = resource.roles.iter().map(|(value, id)| {
        json!({
            "id": id, "value": value, "displayName": value, "description": value, "isEnabled": true,
            "allowedMemberTypes": ["Application"], "origin": "Application",
        })
    });
    Value::Array(roles.collect())
}

/// `oauth2PermissionScopes` of the resource's service principal.
pub(super) fn permission_scopes(resource: &Resource) -> Value {
    let scopes = resource.scopes.iter().map(|(value, id)| {
        json!({
            "id": id, "value": value, "type": "User", "isEnabled": true,
            "adminConsentDisplayName": value, "adminConsentDescription": value,
        })
    });
    Value::Array(scopes.collect())
}
