//! Microsoft's clouds: which addresses, scopes and audiences belong together.

use serde::{Deserialize, Serialize};
use url::Url;

/// Which of Microsoft's clouds a tenant lives in, or a set of addresses of one's own (the sandbox).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "one for each connection, and none of them in a list")]
pub enum Cloud {
    /// Worldwide, and GCC.
    #[default]
    Worldwide,
    /// US Government L4 (GCC High).
    UsGovernment,
    /// US Government L5 (DoD).
    UsGovernmentDod,
    /// China, operated by 21Vianet.
    China,
    /// Addresses of one's own.
    Custom(Endpoints),
}

/// The addresses a cloud is reached at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// Microsoft Entra: `https://login.microsoftonline.com`.
    pub authority: Url,
    /// Microsoft Graph without version: `https://graph.microsoft.com`.
    pub graph: Url,
    /// Exchange, where its address does not follow from the cloud: EWS is at `EWS/Exchange.asmx` below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Url>,
}

impl Endpoints {
    /// The OAuth scope for Graph. In Microsoft's clouds this is the address itself plus `/.default`; a custom
    /// Graph keeps the worldwide resource, because that is what tokens there are made for.
    pub fn graph_scope(&self) -> String {
        let microsoft = [
            "graph.microsoft.com",
            "graph.microsoft.us",
            "dod-graph.microsoft.us",
            "microsoftgraph.chinacloudapi.cn",
        ];
        match self.graph.host_str() {
            Some(host) if microsoft.contains(&host) => format!("https://{host}/.default"),
            _ => "https://graph.microsoft.com/.default".to_owned(),
        }
    }
}

impl Cloud {
    /// Hosts of sign-in and Graph. Source: Microsoft, "National cloud deployments"
    /// (<https://learn.microsoft.com/graph/deployments>).
    pub fn endpoints(&self) -> Endpoints {
        let (authority, graph) = match self {
            Self::Worldwide => ("https://login.microsoftonline.com", "https://graph.microsoft.com"),
            Self::UsGovernment => ("https://login.microsoftonline.us", "https://graph.microsoft.us"),
            Self::UsGovernmentDod => ("https://login.microsoftonline.us", "https://dod-graph.microsoft.us"),
            Self::China => {
                ("https://login.partner.microsoftonline.cn", "https://microsoftgraph.chinacloudapi.cn")
            }
            Self::Custom(endpoints) => return endpoints.clone(),
        };
        let constant = |text: &str| Url::parse(text).expect("a constant URL parses");
        Endpoints { authority: constant(authority), graph: constant(graph), exchange: None }
    }

    /// Microsoft's own clouds.
    pub const MICROSOFT: [Self; 4] =
        [Self::Worldwide, Self::UsGovernment, Self::UsGovernmentDod, Self::China];

    /// Name in the API and the command line.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Worldwide => "worldwide",
            Self::UsGovernment => "us-government",
            Self::UsGovernmentDod => "us-government-dod",
            Self::China => "china",
            Self::Custom(_) => "custom",
        }
    }

    /// The cloud a server address of Exchange Online belongs to: `outlook.office365.us`, `smtp.office365.us`, ... None
    /// for a host that is none of Microsoft's, which may be the sandbox or Exchange on premises.
    pub fn from_server_host(host: &str) -> Option<Self> {
        let host = host.trim().trim_end_matches('.').to_ascii_lowercase();
        let within = |domain: &str| host == domain || host.ends_with(&format!(".{domain}"));
        match () {
            // Before the domain both have in common.
            () if host.starts_with("outlook-dod.") && within("office365.us") => Some(Self::UsGovernmentDod),
            () if host.ends_with("-dod.office365.us") => Some(Self::UsGovernmentDod),
            () if within("office365.us") => Some(Self::UsGovernment),
            () if within("partner.outlook.cn") => Some(Self::China),
            () if within("office365.com") || within("outlook.office.com") => Some(Self::Worldwide),
            () => None,
        }
    }

    /// Host of Exchange Online; for addresses of one's own the worldwide one, which tokens there are made for.
    pub fn exchange_host(&self) -> &'static str {
        match self {
            Self::Worldwide | Self::Custom(_) => "outlook.office365.com",
            Self::UsGovernment => "outlook.office365.us",
            Self::UsGovernmentDod => "outlook-dod.office365.us",
            Self::China => "partner.outlook.cn",
        }
    }

    /// The OAuth scope for Exchange Online: EWS, IMAP, POP and SMTP.
    pub fn exchange_scope(&self) -> String {
        format!("https://{}/.default", self.exchange_host())
    }

    /// The audience a federated credential is made for
    /// (<https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations>).
    pub fn federated_audience(&self) -> &'static str {
        match self {
            Self::Worldwide | Self::Custom(_) => "api://AzureADTokenExchange",
            Self::UsGovernment | Self::UsGovernmentDod => "api://AzureADTokenExchangeUSGov",
            Self::China => "api://AzureADTokenExchangeChina",
        }
    }

    /// The portal an administrator opens: `https://entra.microsoft.com`.
    pub fn portal(&self) -> &'static str {
        match self {
            Self::Worldwide | Self::Custom(_) => "https://entra.microsoft.com",
            Self::UsGovernment | Self::UsGovernmentDod => "https://portal.azure.us",
            Self::China => "https://portal.azure.cn",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_address_tells_its_cloud() {
        for (host, cloud) in [
            ("outlook.office365.com", Some(Cloud::Worldwide)),
            ("smtp.office365.com", Some(Cloud::Worldwide)),
            ("Outlook.Office365.US", Some(Cloud::UsGovernment)),
            ("smtp.office365.us", Some(Cloud::UsGovernment)),
            ("outlook-dod.office365.us", Some(Cloud::UsGovernmentDod)),
            ("partner.outlook.cn", Some(Cloud::China)),
            ("smtp.partner.outlook.cn", Some(Cloud::China)),
            ("mail.contoso.example", None),
            ("outlook.office365.com.contoso.example", None),
            ("notoffice365.us", None),
        ] {
            assert_eq!(Cloud::from_server_host(host), cloud, "{host}");
        }
        for cloud in Cloud::MICROSOFT {
            assert_eq!(Cloud::from_server_host(cloud.exchange_host()), Some(cloud.clone()));
            let graph = cloud.endpoints().graph_scope();
            assert_eq!(graph, format!("{}.default", cloud.endpoints().graph));
            assert!(cloud.exchange_scope().ends_with("/.default"));
        }
    }
}
