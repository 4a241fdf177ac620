//! A plan for tests.

use postroom_model::Env;

use crate::Plan;

/// Two mailboxes of Contoso.
pub(crate) fn plan() -> Plan {
    let (env, _) = Env::for_test(1);
    let address = |text: &str| text.parse().unwrap();
    Plan::new(
        &env,
        "Contoso 365",
        vec![address("orders@contoso.example"), address("service@contoso.example")],
    )
}

/// Ids as a tenant gives them.
pub(crate) const APPLICATION: &str = "5a1b2c3d-0000-4000-8000-00000000a001";
/// The application object.
pub(crate) const OBJECT: &str = "5a1b2c3d-0000-4000-8000-00000000a002";
/// The service principal.
pub(crate) const PRINCIPAL: &str = "5a1b2c3d-0000-4000-8000-00000000a003";
/// The tenant.
pub(crate) const TENANT: &str = "5a1b2c3d-0000-4000-8000-00000000b001";
