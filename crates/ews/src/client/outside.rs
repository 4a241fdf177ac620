//! Whether an address that a stranger names lies outside: not on this machine and not in a network behind it. A server
//! that may send us anywhere must not reach what only we can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use url::{Host, Url};

/// How long a name may take to be resolved.
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);

/// Whether the host of an address lies outside, by all that its name resolves to. A name that this machine cannot
/// resolve counts as outside: nothing here is reached by it, at most a proxy reaches it.
pub(super) async fn is_outside(address: &Url) -> bool {
    if !reads_outside(address) {
        return false;
    }
    let Some(Host::Domain(name)) = address.host() else { return true };
    let port = address.port_or_known_default().unwrap_or(443);
    match tokio::time::timeout(RESOLVE_WITHIN, tokio::net::lookup_host((name, port))).await {
        Ok(Ok(mut numbers)) => numbers.all(|found| is_public(found.ip())),
        Ok(Err(_)) | Err(_) => true,
    }
}

/// The same by what is written there alone; no name is resolved.
pub(super) fn reads_outside(address: &Url) -> bool {
    match address.host() {
        None => false,
        Some(Host::Ipv4(number)) => is_public(number.into()),
        Some(Host::Ipv6(number)) => is_public(number.into()),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            name != "localhost" && !name.ends_with(".localhost")
        }
    }
}

/// Whether a number is one of the public network (IANA's registries of special purpose, RFC 6890).
fn is_public(number: IpAddr) -> bool {
    match number {
        IpAddr::V4(number) => is_public_v4(number),
        IpAddr::V6(number) => match embedded(number) {
            Some(inner) => is_public_v4(inner),
            None => {
                let first = number.segments()[0];
                // Unique local fc00::/7, link-local fe80::/10, site-local fec0::/10.
                !(number.is_loopback()
                    || number.is_unspecified()
                    || number.is_multicast()
                    || first & 0xfe00 == 0xfc00
                    || first & 0xff80 == 0xfe80)
            }
        },
    }
}

/// The IPv4 number that an IPv6 number stands for: mapped (RFC 4291), or translated by NAT64 (RFC 6052).
fn embedded(number: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = number.segments();
    let is_nat64 = [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0];
    let is_compatible = [a, b, c, d, e, f] == [0; 6] && !(number.is_loopback() || number.is_unspecified());
    if is_nat64 || is_compatible {
        return Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    }
    number.to_ipv4_mapped()
}

fn is_public_v4(number: Ipv4Addr) -> bool {
    let [a, b, ..] = number.octets();
    !(number.is_loopback()
        || number.is_private()
        || number.is_link_local()
        || number.is_broadcast()
        || number.is_multicast()
        || a == 0
        || a >= 240
        // Shared by providers 100.64.0.0/10, measuring 198.18.0.0/15, protocols 192.0.0.0/24.
        || (a == 100 && b & 0xc0 == 64)
        || (a == 198 && b & 0xfe == 18)
        || number.octets()[..3] == [192, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_and_outside() {
        for inside in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "198.18.0.1",
            "192.0.0.8",
            "::1",
            "::",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12:3456::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::10.0.0.1",
            "64:ff9b::7f00:1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in
            ["52.96.0.1", "172.32.0.1", "100.128.0.1", "2603:1026::1", "64:ff9b::3460:1", "::ffff:52.96.0.1"]
        {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }
}
