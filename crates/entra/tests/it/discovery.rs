use postroom_entra::{TokenError, discovery};
use serde_json::json;

use crate::http;
use crate::stub::{Reply, Stub};

const TENANT: &str = "5a1b2c3d-0000-4000-8000-00000000b001";

#[tokio::test]
async fn a_domain_becomes_a_tenant_id() {
    let stub = Stub::start(|seen| match seen.target.as_str() {
        "/contoso.example/v2.0/.well-known/openid-configuration" => Reply::json(
            200,
            &json!({"issuer": format!("https://login.example/{TENANT}/v2.0"),
                "token_endpoint": format!("https://login.example/{TENANT}/oauth2/v2.0/token"),
                "tenant_region_scope": "EU", "msgraph_host": "graph.microsoft.com"}),
        ),
        "/common/v2.0/.well-known/openid-configuration" => Reply::json(
            200,
            &json!({"issuer": "https://login.example/{tenantid}/v2.0", "token_endpoint": "x"}),
        ),
        _ => Reply::json(
            400,
            &json!({"error":"invalid_tenant","error_codes":[90002],
                "error_description":"AADSTS90002: Tenant 'nowhere.example' not found. Trace ID: t"}),
        ),
    })
    .await;
    let info = discovery::tenant(&http(), &stub.url, " contoso.example ").await.unwrap();
    assert_eq!((info.tenant_id.as_str(), info.region.as_deref()), (TENANT, Some("EU")));
    let error = discovery::tenant(&http(), &stub.url, "nowhere.example").await.unwrap_err();
    assert_eq!(error.aadsts(), Some(90_002));
    assert_eq!(error.advice().unwrap().field, Some("tenant_id"));
    let error = discovery::tenant(&http(), &stub.url, "common").await.unwrap_err();
    assert!(matches!(error, TokenError::Garbage { .. }), "{error:?}");
    let error = discovery::tenant(&http(), &stub.url, " ").await.unwrap_err();
    assert!(matches!(error, TokenError::Address { .. }), "{error:?}");
}
