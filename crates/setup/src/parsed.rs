//! The PowerShell that is printed, read by a grammar of PowerShell: every script and every line for Exchange, in every
//! plan that there is, parses without an error.

use postroom_model::connection::Cloud;
use postroom_model::{EmailAddress, Env};
use tree_sitter::{Node, Parser};

use crate::handover::Certificate;
use crate::limits::{self, Names, Told};
use crate::plan::{Accounts, Api, KeyKind, Limit, Plan};
use crate::script::{Ask, Purpose, Shell, script};
use crate::testing::{APPLICATION, PRINCIPAL, plan};

/// What of a text is no PowerShell, each with its line.
fn errors(text: &str) -> Vec<String> {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).unwrap();
    let tree = parser.parse(text, None).unwrap();
    let mut found = Vec::new();
    collect(tree.root_node(), text, &mut found);
    found
}

fn collect(node: Node<'_>, text: &str, found: &mut Vec<String>) {
    if node.is_error() || node.is_missing() {
        let line = node.start_position().row;
        found.push(format!("line {}: {}", line + 1, text.lines().nth(line).unwrap_or_default()));
    }
    let mut cursor = node.walk();
    for child in node.children(&mut cursor) {
        collect(child, text, found);
    }
}

/// Every kind of plan.
fn plans() -> Vec<Plan> {
    let mut all = Vec::new();
    for api in [Api::Graph, Api::Ews, Api::ImapSmtp] {
        for limit in [Limit::Rbac, Limit::AccessPolicy, Limit::None] {
            for kind in [KeyKind::Certificate, KeyKind::Secret] {
                for cloud in [Cloud::Worldwide, Cloud::UsGovernment, Cloud::UsGovernmentDod, Cloud::China] {
                    let mut plan = plan();
                    (plan.api, plan.limit, plan.key.kind, plan.cloud) = (api, limit, kind, cloud);
                    if api == Api::ImapSmtp {
                        plan.limit = Limit::None;
                    }
                    all.push(plan);
                }
            }
        }
    }
    let mut named = plan();
    named.application = "O'Brien's \"mail\" $(touch a) `touch b` ’; touch c".to_owned();
    named.connection = named.application.clone();
    named.accounts = Accounts::MultitenantAndPersonal;
    named.redirect_uris = vec!["https://mail.contoso.example/auth".parse().unwrap(); 2];
    all.push(named);
    all
}

#[test]
fn every_script_that_is_printed_is_powershell() {
    let env = Env::for_test(1).0;
    let hr: EmailAddress = "hr@contoso.example".parse().unwrap();
    let (names, mut read) = (Names::known(APPLICATION, PRINCIPAL), 0);
    for plan in plans() {
        let other = [hr.clone()];
        let ran = Told::Ran { applied: &other, superseded: &[] };
        let mut texts = Vec::new();
        for told in [Told::Nothing, Told::Perhaps(&other), ran] {
            for unlisted in [None, Some(&hr)] {
                texts.push(limits::lines(&plan, &names, told, unlisted).join("\n"));
                let ask = Ask {
                    shell: Shell::PowerShell,
                    purpose: Purpose::Make,
                    certificate: Some(b"certificate"),
                    unlisted,
                    told,
                };
                texts.push(script(&plan, &env, ask).unwrap());
                texts.push(script(&plan, &env, Ask { purpose: Purpose::Undo, ..ask }).unwrap());
            }
        }
        texts.push(limits::undo(&plan, &names).join("\n"));
        // A plan without a limit tells Exchange nothing, or comments alone, which the grammar takes for no program.
        let commands = |text: &String| text.lines().any(|line| !line.starts_with('#'));
        for text in texts.into_iter().filter(commands) {
            assert_eq!(errors(&text), [""; 0], "{text}");
            read += 1;
        }
    }
    assert!(read > 800, "{read} texts");
}

#[test]
fn the_powershell_of_the_hand_over_page_is_that_of_the_script() {
    let env = Env::for_test(1).0;
    let certificate = Certificate { der: b"certificate", pem: "-----BEGIN CERTIFICATE-----" };
    let page = crate::handover(&plan(), Told::Nothing, &env, Some(certificate)).unwrap();
    let blocks: Vec<String> = page
        .split("<pre")
        .skip(1)
        .filter_map(|part| part.split_once('>')?.1.split_once("</pre>"))
        .map(|(block, _)| unescaped(block))
        .filter(|block| block.contains("Connect-MgGraph"))
        .collect();
    assert_eq!(blocks.len(), 2, "one that makes and one that takes back");
    for block in blocks {
        assert_eq!(errors(&block), [""; 0], "{block}");
    }
}

fn unescaped(html: &str) -> String {
    let pairs =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&#39;", "'"), ("&#x2f;", "/")];
    pairs.iter().fold(html.to_owned(), |text, (from, to)| text.replace(from, to)).replace("&amp;", "&")
}

/// The grammar must see what a person would see, or the tests above mean nothing.
#[test]
fn what_is_broken_is_seen() {
    let env = Env::for_test(1).0;
    let ask = Ask {
        shell: Shell::PowerShell,
        purpose: Purpose::Make,
        certificate: Some(b"certificate"),
        unlisted: None,
        told: Told::Nothing,
    };
    let sound = script(&plan(), &env, ask).unwrap();
    for (from, to) in [
        ("$ErrorActionPreference = 'Stop'", "$ErrorActionPreference = 'Stop"),
        ("if (-not $application) {", "if (-not $application {"),
        ("try { & $line }", "try { & $line"),
        ("-Tags @('postroom', $mark)", "-Tags @('postroom', $mark"),
    ] {
        assert!(sound.contains(from), "{from}");
        assert_ne!(errors(&sound.replacen(from, to, 1)), [""; 0], "{to}");
    }
    for line in ["New-ManagementScope -Name 'a", "Get-X | | Remove-X", "if (-not (Get-X)) { New-X"] {
        assert_ne!(errors(line), [""; 0], "{line}");
    }
}
