//! The pages with a bit of everything in them, to be looked at: `cargo run -p postroom-web --example preview`, then
//! <http://127.0.0.1:8787>. The administrator is `admin`; the password stands in `tests/it/sample.rs`. The data goes
//! when the process ends.

#![allow(missing_docs, clippy::unwrap_used, reason = "an example for the people who build the pages")]

#[path = "../tests/it/sample.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests use more of it")]
mod sample;

use std::net::Ipv4Addr;

use postroom_model::Env;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let (env, _) = Env::for_test(7);
    let sample = sample::Sample::filled(env).await;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 8787)).await?;
    axum::serve(listener, postroom_web::router(sample.state.clone())).await
}
