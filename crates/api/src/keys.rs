//! API keys: made once, shown once, stored as their SHA-256 only.

use aws_lc_rs::digest::{SHA256, digest};
use postroom_model::{Env, ExposeSecret, SecretString};

/// What every key begins with, so that people and secret scanners know one when they see it.
const PREFIX: &str = "pr_";
/// Characters after the prefix, five bits of chance each: 200 bits.
const LENGTH: usize = 40;

/// A fresh key and the hash to store. The key itself is shown once and kept nowhere.
pub fn new_api_key(env: &Env) -> (SecretString, [u8; 32]) {
    let key = SecretString::from(format!("{PREFIX}{}", env.new_token(LENGTH)));
    let hash = hash_api_key(key.expose_secret());
    (key, hash)
}

/// What is stored and looked up in place of `key`. A plain hash is enough: a key has 200 bits of chance, so there is
/// nothing to guess as there is with passwords.
pub fn hash_api_key(key: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_prefix_and_length_and_no_two_are_alike() {
        let (env, _) = Env::for_test(1);
        let (first, hash) = new_api_key(&env);
        let (second, _) = new_api_key(&env);
        assert!(first.expose_secret().starts_with("pr_"));
        assert_eq!(first.expose_secret().len(), 43);
        assert_ne!(first.expose_secret(), second.expose_secret());
        assert_eq!(hash, hash_api_key(first.expose_secret()));
    }

    #[test]
    fn the_hash_is_sha_256() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(hash_api_key("abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }
}
