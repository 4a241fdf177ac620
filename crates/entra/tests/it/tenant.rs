//! Every flow against the sandbox, which reads assertions, proofs and codes by itself.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use postroom_entra::register::{Patience, Permission, Registrar};
use postroom_entra::sign_in::Poll;
use postroom_entra::{
    AccessToken, CertificateCredential, SignIn, SignInRequest, TokenClient, TokenCredential, TokenRequest,
};
use postroom_model::Env;
use postroom_model::connection::{Cloud, Endpoints};
use postroom_model::env::ManualClock;
use postroom_sandbox::{Sandbox, SandboxOptions};
use serde_json::json;
use url::Url;

use crate::http;
use crate::register::plan;

struct World {
    sandbox: Sandbox,
    env: Env,
    clock: Arc<ManualClock>,
    http: reqwest::Client,
}

impl World {
    async fn new() -> Self {
        let (env, clock) = Env::for_test(3);
        let options = SandboxOptions::new("127.0.0.1:0".parse().unwrap(), env.clone());
        let sandbox = Sandbox::start(options).await.unwrap();
        Self { sandbox, env, clock, http: http() }
    }

    fn cloud(&self) -> Cloud {
        let ready = self.sandbox.ready();
        let url = |text: &str| Url::parse(text).unwrap();
        Cloud::Custom(Endpoints {
            authority: url(&ready.authority),
            graph: url(&ready.graph),
            exchange: None,
        })
    }

    /// The administrator signs in by device code.
    async fn admin(&self) -> AccessToken {
        let sign_in = SignIn::new(self.http.clone(), self.env.clone());
        let request = SignInRequest::for_setup(&self.cloud(), &self.sandbox.ready().tenant_id);
        let mut code = sign_in.start(&request).await.unwrap();
        assert!(matches!(sign_in.poll(&mut code).await.unwrap(), Poll::Pending(_)));
        let admin = &self.sandbox.ready().admin;
        let approval = json!({"user_code": code.user_code, "user": admin.user, "password": admin.password});
        let address = format!("{}/_sandbox/approve", self.sandbox.ready().graph);
        let answer = self.http.post(address).json(&approval).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        self.clock.advance(SignedDuration::from_secs(30));
        match sign_in.poll(&mut code).await.unwrap() {
            Poll::Done(mut signed_in) => sign_in.token(&mut signed_in).await.unwrap(),
            Poll::Pending(_) => panic!("approved and still pending"),
        }
    }

    fn registrar(&self, token: AccessToken) -> Registrar {
        let patience = Patience { tries: 3, pause: Duration::from_millis(5) };
        let graph = self.cloud().endpoints().graph;
        Registrar::new(self.http.clone(), self.env.clone(), graph, token).with_patience(patience)
    }

    fn request(&self, application: &str, credential: TokenCredential) -> TokenRequest {
        let endpoints = self.cloud().endpoints();
        TokenRequest {
            authority: endpoints.authority.clone(),
            tenant: self.sandbox.ready().tenant_id.clone(),
            application: application.to_owned(),
            scope: endpoints.graph_scope(),
            credential,
        }
    }

    fn certificate(&self, subject: &str) -> Arc<CertificateCredential> {
        let now = self.env.now();
        let end = now.saturating_add(SignedDuration::from_hours(24 * 180)).unwrap();
        Arc::new(CertificateCredential::generate(subject, now, end, &self.env).unwrap())
    }
}

#[tokio::test]
async fn an_application_signs_in_by_certificate_and_rolls_its_own_key() {
    let world = World::new().await;
    let registrar = world.registrar(world.admin().await);
    let application = registrar.create_application(&plan()).await.unwrap();
    let principal = registrar.create_service_principal(&application).await.unwrap();
    for permission in Permission::for_mail() {
        registrar.grant(&principal, &permission).await.unwrap();
    }
    let (first, second) = (world.certificate("First"), world.certificate("Second"));
    let old = registrar.add_certificate(&application, first.public()).await.unwrap();

    let tokens = TokenClient::new(world.http.clone(), world.env.clone());
    let by = |certificate: &Arc<CertificateCredential>| {
        world.request(&application.app_id, TokenCredential::Certificate(certificate.clone()))
    };
    let token = tokens.token(&by(&first)).await.unwrap();
    assert_eq!(token.claims().unwrap().roles, ["Mail.ReadWrite", "Mail.Send"]);
    let error = tokens.token(&by(&second)).await.unwrap_err();
    assert_eq!(error.advice().map(|advice| advice.row), Some("aadsts-certificate-unknown"), "{error}");

    let itself = world.registrar(token);
    itself.roll_key(&application.object_id, &first, second.public()).await.unwrap();
    world.clock.advance(SignedDuration::from_secs(60));
    let token = tokens.token(&by(&second)).await.unwrap();
    world.registrar(token).remove_key_with_proof(&application.object_id, &second, &old).await.unwrap();
    let left = registrar.credentials(&application).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].ends, Some(second.not_after()));

    let leftover = registrar.find_leftover_grants(&principal, &[]).await.unwrap();
    assert_eq!(leftover.len(), 2, "{leftover:?}");
    for permission in Permission::for_mail() {
        registrar.revoke(&principal, &permission).await.unwrap();
    }
    assert_eq!(registrar.all_grants(&principal).await.unwrap(), []);
    registrar.delete_application(&application).await.unwrap();
    assert_eq!(registrar.application(&application.app_id).await.unwrap(), None);
}
