//! The table. Sources: Microsoft, "Microsoft Entra authentication and authorization error codes"
//! (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>) and "Microsoft Graph error
//! responses" (<https://learn.microsoft.com/graph/errors>).

/// An error of signing in.
#[derive(Clone, Copy)]
pub(super) struct SignInRow {
    /// AADSTS numbers.
    pub(super) numbers: &'static [u32],
    pub(super) cause: &'static str,
    pub(super) field: Option<&'static str>,
    pub(super) next_step: &'static str,
    pub(super) waiting: bool,
}

/// An error of Microsoft Graph.
#[derive(Clone, Copy)]
pub(super) struct GraphRow {
    /// Codes; empty in a row that stands for its statuses.
    pub(super) codes: &'static [&'static str],
    /// HTTP statuses it comes with.
    pub(super) statuses: &'static [u16],
    pub(super) cause: &'static str,
    pub(super) field: Option<&'static str>,
    pub(super) next_step: &'static str,
    pub(super) waiting: bool,
}

const fn sign_in(
    numbers: &'static [u32],
    field: &'static str,
    cause: &'static str,
    next_step: &'static str,
) -> SignInRow {
    let field = if field.is_empty() { None } else { Some(field) };
    SignInRow { numbers, cause, field, next_step, waiting: false }
}

const fn graph(
    codes: &'static [&'static str],
    statuses: &'static [u16],
    field: &'static str,
    cause: &'static str,
    next_step: &'static str,
) -> GraphRow {
    let field = if field.is_empty() { None } else { Some(field) };
    GraphRow { codes, statuses, cause, field, next_step, waiting: false }
}

/// A recent change may not have reached every server yet.
const fn soon(row: SignInRow) -> SignInRow {
    SignInRow { waiting: true, ..row }
}

const fn soon_graph(row: GraphRow) -> GraphRow {
    GraphRow { waiting: true, ..row }
}

/// Errors of signing in.
#[rustfmt::skip] // one row per cause, readable as a table
pub(super) const SIGN_IN: &[SignInRow] = &[
    sign_in(&[50_020, 50_034], "user_name", "This user does not exist in tenant {tenant}.",
        "Check the user name: it is the whole address (UPN), and guests cannot sign in this way."),
    sign_in(&[50_053], "user_name", "The account is locked, or the address this machine comes from is blocked.",
        "Wait, or have an administrator unlock the user."),
    sign_in(&[50_055], "secret", "The user's password has expired.",
        "Set a new password for the user and enter it here; better, choose Client secret as authentication flow."),
    sign_in(&[50_057], "user_name", "The user's account is disabled.",
        "Enable the user in the Entra admin centre under Users."),
    sign_in(&[50_072, 50_074, 50_076, 50_079], "flow", "The tenant demands multi-factor authentication, which User name/Password cannot answer.",
        "Choose Client secret as authentication flow."),
    sign_in(&[50_105, 501_051], "application_id", "Application {application} may be used only by those it is assigned to.",
        "In the Entra admin centre open Enterprise applications, the application, Properties, and turn off Assignment required, or assign it."),
    sign_in(&[50_126], "secret", "User name or password is wrong.",
        "Enter both again."),
    sign_in(&[50_173, 700_082], "secret", "The sign-in was revoked or has lain idle for too long.",
        "Sign in again."),
    sign_in(&[50_194], "tenant_id", "The application belongs to one tenant, and `common` was asked.",
        "Enter the Directory (tenant) ID itself."),
    sign_in(&[50_196], "", "Microsoft Entra saw the same question too often in a short time.",
        "Nothing is to be done; it is tried again more slowly."),
    sign_in(&[53_003], "", "A Conditional Access policy of tenant {tenant} blocks this sign-in.",
        "Have an administrator exempt application {application}, or the address of this machine, in that policy."),
    sign_in(&[530_035], "flow", "Security defaults of tenant {tenant} block this sign-in.",
        "Choose Client secret as authentication flow."),
    sign_in(&[65_001, 90_094], "application_id", "Nobody has consented to application {application} in tenant {tenant} yet.",
        "An administrator opens API permissions of the application and presses Grant admin consent."),
    sign_in(&[650_057], "application_id", "Application {application} does not list this API among its permissions.",
        "Add the permissions under API permissions and grant admin consent."),
    soon(sign_in(&[70_021, 700_211, 700_212, 700_213], "secret", "No federated credential of application {application} matches the token that was shown.",
        "Compare issuer, subject and audience byte for byte; a new one needs some minutes.")),
    sign_in(&[70_011, 1_002_012, 700_022], "cloud", "The scope asked for is not valid.",
        "Check the address of Microsoft Graph in the settings of the cloud."),
    soon(sign_in(&[700_016], "application_id", "Application {application} does not exist in tenant {tenant}.",
        "Compare Application (client) ID and Directory (tenant) ID with the overview page of the app registration; one that was just made needs up to two minutes.")),
    sign_in(&[700_024], "", "The assertion was outside its time: the clock of this machine is wrong.",
        "Set the clock of this machine by NTP."),
    sign_in(&[700_025], "flow", "Application {application} is a public client and must not send a secret.",
        "In the app registration, under Authentication, set Allow public client flows to No."),
    soon(sign_in(&[700_027], "secret", "The certificate is not one of application {application}, or has expired.",
        "Upload the public part under Certificates & secrets of the app registration and compare the thumbprints.")),
    sign_in(&[7_000_112], "application_id", "Application {application} is disabled in tenant {tenant}.",
        "In the Entra admin centre open Enterprise applications, the application, Properties, and enable sign-in for users."),
    sign_in(&[7_000_214], "secret", "The certificate was revoked.",
        "Make a new certificate and upload its public part."),
    soon(sign_in(&[7_000_215], "secret", "The client secret is wrong; very often it is the Secret ID instead of the Value.",
        "Under Certificates & secrets of application {application} copy the column Value; if it is no longer shown, make a new secret. One that was just made needs up to two minutes.")),
    sign_in(&[7_000_216, 7_000_218], "secret", "Application {application} demands a credential, and none was sent.",
        "Enter a client secret; for User name/Password set Allow public client flows to Yes under Authentication of the app registration."),
    sign_in(&[7_000_222], "secret", "The client secret has expired.",
        "Make a new secret under Certificates & secrets of application {application} and enter its Value here."),
    sign_in(&[500_011], "cloud", "Tenant {tenant} does not know this service.",
        "Check the cloud in the settings, and that the tenant has Exchange Online."),
    sign_in(&[90_002, 900_023, 90_019], "tenant_id", "Tenant {tenant} was not found.",
        "Compare Directory (tenant) ID with the overview page of the app registration, and check the cloud."),
    sign_in(&[90_055], "", "Microsoft Entra is busy with tenant {tenant}.",
        "Nothing is to be done; it is tried again."),
    sign_in(&[9_001_023], "tenant_id", "This way to sign in needs one tenant, and `common` or `consumers` was asked.",
        "Enter the Directory (tenant) ID itself."),
    sign_in(&[900_144, 9_002_313, 70_003, 90_013], "", "Microsoft Entra could not read the request.",
        "This is an error of the program or of a proxy in between; report it with the request id."),
];

/// Errors of Microsoft Graph; the rows without codes come last and stand for their statuses.
#[rustfmt::skip] // one row per cause, readable as a table
pub(super) const GRAPH: &[GraphRow] = &[
    graph(&["InvalidAuthenticationToken"], &[401], "", "Microsoft Graph does not accept the token, even after a new one was fetched.",
        "Check the cloud in the settings, and the clock of this machine."),
    soon_graph(graph(&["ErrorAccessDenied"], &[403], "mailbox", "Application {application} may not do this in {mailbox}.",
        "An administrator grants Mail.ReadWrite and Mail.Send with admin consent, and checks that {mailbox} is inside the application's scope in Exchange. A change needs up to two hours.")),
    graph(&["ErrorSendAsDenied"], &[403], "mailbox", "{mailbox} may not send in the name of the sender in the message.",
        "Use the address of the mailbox as sender, or have an Exchange administrator give it Send As."),
    soon_graph(graph(&["Authorization_RequestDenied"], &[403], "application_id", "Application {application} or the signed-in administrator lacks a permission in the directory.",
        "Sign in as Global Administrator or Privileged Role Administrator, or grant the permission with admin consent.")),
    graph(&["ErrorMessageSubmissionBlocked", "ErrorAccountSuspend"], &[403, 400], "mailbox", "Exchange Online has blocked sending from {mailbox}.",
        "An administrator opens Restricted entities in the Defender portal, finds out why, and lifts the block."),
    graph(&["ErrorInvalidUser"], &[404], "mailbox", "There is no mailbox {mailbox} in tenant {tenant}.",
        "Check the address, and that it is the primary one."),
    soon_graph(graph(&["MailboxNotEnabledForRESTAPI", "MailboxNotSupportedForRESTAPI"], &[404], "mailbox", "{mailbox} has no mailbox in Exchange Online.",
        "Give the user a licence with Exchange Online; a mailbox on premises is reached through a connection of kind Exchange.")),
    graph(&["ErrorItemNotFound"], &[404], "", "The message is no longer there.",
        "Somebody may have deleted it; nothing is to be done."),
    graph(&["ErrorFolderNotFound", "ErrorSyncFolderNotFound"], &[404], "mailbox", "A folder of {mailbox} is no longer there.",
        "Check which folder is read."),
    soon_graph(graph(&["Request_ResourceNotFound", "ResourceNotFound"], &[404], "", "Microsoft Graph does not know this object, or not yet.",
        "Something just made needs up to a minute; else check the ids.")),
    graph(&["ErrorInvalidRecipients"], &[400], "", "A recipient's address is not valid.",
        "Correct the address and send again."),
    graph(&["ErrorInvalidIdMalformed"], &[400], "", "The message's id is not one of this mailbox.",
        "Nothing is to be done; the message is looked up anew."),
    graph(&["ErrorMimeContentInvalidBase64String", "RequestBodyRead", "BadRequest", "ErrorPropertyValidationFailure", "ErrorInvalidPropertySet", "InvalidInternetMessageHeaderCollection", "InefficientFilter"],
        &[400], "", "Microsoft Graph could not read the request.",
        "This is an error of the program; report it with the request id."),
    graph(&["ErrorMessageSizeExceeded", "RequestEntityTooLarge"], &[413], "", "The message is larger than the mailbox or Microsoft Graph allows.",
        "Send it with smaller attachments, or raise the limit of the mailbox in Exchange."),
    graph(&["ErrorExceededMessageLimit", "ErrorExceededHourlyMessageLimit", "ErrorExceededMaxRecipientLimit", "ErrorSubmissionQuotaExceeded"],
        &[429, 400, 403], "mailbox", "{mailbox} has sent as much as Exchange Online allows for now.",
        "Nothing is to be done; sending goes on when the limit allows, for the daily limit tomorrow."),
    graph(&["ErrorQuotaExceeded"], &[507, 500], "mailbox", "{mailbox} is full.",
        "Delete or archive messages, or give the mailbox more room."),
    graph(&["SyncStateNotFound", "ResyncRequired", "SyncStateInvalid"], &[410], "", "Microsoft Graph no longer knows how far the mailbox was read.",
        "Nothing is to be done; it is read from the beginning, and nothing is stored twice."),
    graph(&["CredentialInvalidLifetimeAsPerAppPolicy"], &[400, 403], "secret", "A policy of tenant {tenant} allows only secrets with a shorter life.",
        "Ask for an earlier end date."),
    graph(&["CredentialTypeNotAllowedAsPerAppPolicy"], &[400, 403], "flow", "A policy of tenant {tenant} forbids client secrets.",
        "Use a certificate, or have an administrator exempt application {application}."),
    graph(&["SignInAudienceNotAllowedAsPerAppPolicy"], &[400, 403], "", "A policy of tenant {tenant} forbids this kind of application.",
        "Register it for this directory only."),
    graph(&[], &[401], "", "Microsoft Graph does not accept the token, even after a new one was fetched.",
        "Check the cloud in the settings, and the clock of this machine."),
    soon_graph(graph(&[], &[403], "mailbox", "Application {application} may not do this in {mailbox}.",
        "An administrator checks the permissions of the application and its scope in Exchange.")),
    graph(&[], &[413], "", "The message is larger than Microsoft Graph takes.",
        "Send it with smaller attachments."),
    graph(&[], &[429], "", "Microsoft Graph asks for slower requests.",
        "Nothing is to be done; it is tried again when it allows."),
    graph(&[], &[500, 502, 503, 504], "", "Microsoft Graph is in trouble.",
        "Nothing is to be done; it is tried again."),
];
