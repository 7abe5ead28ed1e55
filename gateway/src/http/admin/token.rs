//! The bearer tokens of the admin listener: who calls, and what the caller may do.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::super::{AdminOptions, AdminRole};
use crate::secret::read_secret;

/// A shorter token can be guessed.
const TOKEN_CHARACTERS_MIN: usize = 16;
/// The name of the token in `admin.token_file`.
const UNNAMED: &str = "admin";

#[derive(Debug)]
pub(super) struct Token {
    pub(super) name: String,
    pub(super) role: AdminRole,
    hash: Hash,
}

/// The SHA-256 of a token. How long comparing two hashes takes tells an attacker nothing about the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Hash([u8; 32]);

impl Hash {
    fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }
}

/// The tokens of the configuration.
#[derive(Debug, Clone, Default)]
pub struct AdminTokens(Arc<[Token]>);

impl AdminTokens {
    /// Reads each token from the first line of its file.
    ///
    /// # Errors
    /// The message for the operator when a file cannot be read, a token is too short, or two tokens or their names are
    /// the same.
    pub fn read(options: &AdminOptions) -> Result<Self, String> {
        let mut tokens = Vec::new();
        if let Some(path) = &options.token_file {
            tokens.push(Token::read("admin.token_file", UNNAMED, AdminRole::Operate, path)?);
        }
        for token in &options.tokens {
            let key = format!("admin.tokens: `{}`", token.name);
            if !is_name(&token.name) {
                return Err(format!("{key}: expected a name of 1 to 64 characters of a-z, 0-9 and -"));
            }
            tokens.push(Token::read(&key, &token.name, token.role, &token.token_file)?);
        }
        let (mut names, mut hashes) = (BTreeSet::new(), BTreeSet::new());
        for token in &tokens {
            if !names.insert(&token.name) {
                return Err(format!("admin.tokens: `{}` is the name of two tokens: rename one", token.name));
            }
            if !hashes.insert(token.hash) {
                return Err(format!("admin.tokens: `{}` has the token of another name: create a new one", token.name));
            }
        }
        Ok(Self(tokens.into()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn find(&self, token: &str) -> Option<&Token> {
        let hash = Hash::of(token);
        self.0.iter().find(|known| known.hash == hash)
    }

    #[cfg(test)]
    pub(super) fn of(tokens: &[(&str, AdminRole, &str)]) -> Self {
        let token = |(name, role, token): &(&str, AdminRole, &str)| Token {
            name: (*name).to_owned(),
            role: *role,
            hash: Hash::of(token),
        };
        Self(tokens.iter().map(token).collect())
    }
}

impl Token {
    fn read(key: &str, name: &str, role: AdminRole, path: &Path) -> Result<Self, String> {
        let token = read_secret(path).map_err(|error| format!("{key}: {error}"))?;
        if token.len() < TOKEN_CHARACTERS_MIN {
            return Err(format!(
                "{key}: {}: expected a token of at least {TOKEN_CHARACTERS_MIN} characters on the first line",
                path.display()
            ));
        }
        Ok(Self { name: name.to_owned(), role, hash: Hash::of(&token) })
    }
}

fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::TokenOptions;

    /// Reads tokens from files with these contents: of `admin.token_file`, and of `admin.tokens` by name.
    fn read(unnamed: Option<&str>, named: &[(&str, &str)]) -> Result<AdminTokens, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: String, token: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, token).expect("writes a token");
            path
        };
        let token = |(no, (name, token)): (usize, &(&str, &str))| TokenOptions {
            name: (*name).to_owned(),
            role: AdminRole::Read,
            token_file: file(no.to_string(), token),
        };
        let tokens = named.iter().enumerate().map(token).collect();
        let token_file = unnamed.map(|token| file("unnamed".to_owned(), token));
        AdminTokens::read(&AdminOptions { token_file, tokens, ..AdminOptions::default() })
    }

    #[test]
    fn each_token_has_its_name_and_role() {
        let tokens = read(Some("the first long token\n"), &[("grafana", "the second long token")]).expect("reads");
        let found = |token: &str| tokens.find(token).map(|token| (token.name.clone(), token.role));
        assert_eq!(found("the first long token"), Some(("admin".to_owned(), AdminRole::Operate)));
        assert_eq!(found("the second long token"), Some(("grafana".to_owned(), AdminRole::Read)));
        assert_eq!(found("another long token"), None);
    }

    #[test]
    fn a_token_that_is_ambiguous_or_weak_is_refused() {
        let (one, other) = ("the first long token", "the second long token");
        for (unnamed, named, message) in [
            (None, &[("a", one), ("a", other)][..], "admin.tokens: `a` is the name of two tokens: rename one"),
            (Some(one), &[("admin", other)], "admin.tokens: `admin` is the name of two tokens: rename one"),
            (Some(one), &[("a", one)], "admin.tokens: `a` has the token of another name: create a new one"),
            (None, &[("A b", one)], "admin.tokens: `A b`: expected a name of 1 to 64 characters of a-z, 0-9 and -"),
        ] {
            assert_eq!(read(unnamed, named).expect_err(message), message);
        }
        let short = read(None, &[("a", "short")]).expect_err("is refused");
        assert!(short.starts_with("admin.tokens: `a`: "), "{short}");
        assert!(short.ends_with("expected a token of at least 16 characters on the first line"), "{short}");
    }
}
