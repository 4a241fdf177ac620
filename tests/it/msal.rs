//! Microsoft's own libraries, unchanged, against the tenant: what they accept and refuse there, they accept and
//! refuse here.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::World;

/// One of the two libraries.
#[derive(Clone, Copy)]
enum Library {
    Python,
    Node,
}

/// Runs a flow and gives what came of it.
async fn run(library: Library, world: &World, task: Value) -> Value {
    let tools = PathBuf::from(
        std::env::var_os("XTASK_TOOLS").expect("`cargo xtask test` names the folder of the tools"),
    );
    let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/it/msal");
    let mut command = match library {
        Library::Python => {
            let mut command = Command::new(tools.join("python/bin/python"));
            command.arg(scripts.join("client.py"));
            // Where one is set, it wins over the certificate that the library is told to trust.
            command.env_remove("REQUESTS_CA_BUNDLE").env_remove("CURL_CA_BUNDLE");
            command
        }
        Library::Node => {
            let mut command = Command::new("node");
            command.arg(scripts.join("client.mjs")).env("NODE_EXTRA_CA_CERTS", world.ca_file());
            command
        }
    };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(task.to_string().as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no answer of the library: {words}"))
}

fn task(world: &World, flow: &str) -> Value {
    let text = |name: &str| world.ready[name].as_str().unwrap();
    json!({
        "flow": flow,
        "authority": format!("{}/{}", text("authority"), text("tenant_id")),
        "graph": text("graph"),
        "ca_file": world.ca_file(),
        "mailbox": "orders@contoso.example",
        "client_id": world.application_id,
        "secret": world.secret,
        "public_client_id": "14d82eec-204b-4c2f-b7e8-296a70dab67e",
        "user": world.ready["admin"]["user"],
        "password": world.ready["admin"]["password"],
    })
}

async fn a_library_signs_in_by_every_flow_and_names_what_is_wrong(library: Library) {
    let world = World::with_tls().await;
    let by_secret = run(library, &world, task(&world, "secret")).await;
    assert_eq!(by_secret["got_token"], true, "{by_secret}");
    assert_eq!(by_secret["inbox"], 200, "{by_secret}");
    assert_eq!(by_secret["again"], "cache", "{by_secret}");

    let mut wrong = task(&world, "secret");
    wrong["secret"] = json!("nQ3~not.the_secret-of-this-application");
    let refused = run(library, &world, wrong).await;
    assert_eq!(
        (&refused["error"], &refused["codes"]),
        (&json!("invalid_client"), &json!([7_000_215])),
        "{refused}"
    );

    let made = world.certificate().await;
    let mut certificate = task(&world, "certificate");
    certificate["key_file"] = json!(made.key_file);
    certificate["certificate_file"] = json!(made.certificate_file);
    certificate["thumbprint_sha256"] = json!(made.thumbprint_sha256);
    let by_certificate = run(library, &world, certificate).await;
    assert_eq!(by_certificate["got_token"], true, "{by_certificate}");
    assert_eq!(by_certificate["inbox"], 200, "{by_certificate}");

    let by_code = run(library, &world, task(&world, "device-code")).await;
    assert_eq!(by_code["got_token"], true, "{by_code}");

    // Last, because it moves the tenant's clock two years on.
    world.advance(2 * 366 * 86_400).await;
    let expired = run(library, &world, task(&world, "secret")).await;
    assert_eq!(
        (&expired["error"], &expired["codes"]),
        (&json!("invalid_client"), &json!([7_000_222])),
        "{expired}"
    );
}

#[tokio::test]
#[ignore = "needs MSAL for Python; run by cargo xtask test"]
async fn msal_for_python_signs_in_by_every_flow_and_names_what_is_wrong() {
    a_library_signs_in_by_every_flow_and_names_what_is_wrong(Library::Python).await;
}

#[tokio::test]
#[ignore = "needs MSAL for Node; run by cargo xtask test"]
async fn msal_for_node_signs_in_by_every_flow_and_names_what_is_wrong() {
    a_library_signs_in_by_every_flow_and_names_what_is_wrong(Library::Node).await;
}
