//! Tokens that nobody should believe, each wrong in one way and right in all others.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Value, json};

use crate::issuer::now_s;
use crate::signer::{Signer, encode};

/// Whom the tokens try to deceive.
#[derive(Debug)]
pub struct Victim<'a> {
    /// Whose signatures it believes.
    pub signer: &'a Signer,
    /// Whose it does not.
    pub stranger: &'a Signer,
    /// The kind of token that it takes.
    pub typ: &'a str,
    /// Claims that it takes.
    pub claims: Value,
    /// Whether tokens are the service's own, with every claim there is.
    pub is_own: bool,
}

/// Tokens by what is wrong with them.
pub type Tokens = Vec<(String, String)>;

impl Victim<'_> {
    /// A token that is believed.
    #[must_use]
    pub fn honest(&self) -> String {
        self.signer.sign(&self.header().to_string(), &self.claims.to_string())
    }

    /// All the others.
    #[must_use]
    pub fn hostile(&self) -> Tokens {
        [self.algorithms(), self.headers(), self.key_names(), self.wrong_claims(), self.times(), self.shapes()].concat()
    }

    fn header(&self) -> Value {
        self.signer.header(self.typ)
    }

    fn with_header(&self, field: &str, value: Value) -> String {
        let mut header = self.header();
        header[field] = value;
        self.signer.sign(&header.to_string(), &self.claims.to_string())
    }

    fn with_claim(&self, field: &str, value: Value) -> String {
        let mut claims = self.claims.clone();
        claims[field] = value;
        self.signer.sign(&self.header().to_string(), &claims.to_string())
    }

    fn without(&self, field: &str) -> String {
        let (mut header, mut claims) = (self.header(), self.claims.clone());
        header.as_object_mut().and_then(|header| header.remove(field));
        claims.as_object_mut().and_then(|claims| claims.remove(field));
        self.signer.sign(&header.to_string(), &claims.to_string())
    }

    fn algorithms(&self) -> Tokens {
        let lower = self.signer.algorithm().to_lowercase();
        let others =
            ["HS256", "HS384", "RS256", "ES256", "PS256", "EdDSA", "ES384", "None", "NONE", "quantum", "", &lower];
        let others = others.into_iter().filter(|alg| *alg != self.signer.algorithm());
        let mut tokens: Tokens =
            others.map(|alg| (format!("alg {alg:?}"), self.with_header("alg", json!(alg)))).collect();
        let unsigned = |alg: &str| {
            let header = json!({"alg": alg, "kid": self.signer.kid, "typ": self.typ});
            format!("{}.{}.", encode(header.to_string()), encode(self.claims.to_string()))
        };
        tokens.extend([
            ("alg none, unsigned".into(), unsigned("none")),
            ("unsigned".into(), unsigned(self.signer.algorithm())),
            ("alg none, signed".into(), self.with_header("alg", json!("none"))),
            ("alg an array".into(), self.with_header("alg", json!([self.signer.algorithm()]))),
            ("alg a number".into(), self.with_header("alg", json!(1))),
            ("alg null".into(), self.with_header("alg", Value::Null)),
            ("alg missing".into(), self.without("alg")),
        ]);
        // The public key as the secret of an HMAC.
        let public = self.signer.public();
        for secret in [public["x"].to_string(), public["x"].as_str().unwrap_or_default().to_owned(), public.to_string()]
        {
            tokens.push(("HS256 with the public key".into(), self.with_hmac(secret.as_bytes())));
        }
        tokens
    }

    fn with_hmac(&self, secret: &[u8]) -> String {
        let header = json!({"alg": "HS256", "kid": self.signer.kid, "typ": self.typ});
        let message = format!("{}.{}", encode(header.to_string()), encode(self.claims.to_string()));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let signature = encode(aws_lc_rs::hmac::sign(&key, message.as_bytes()));
        format!("{message}.{signature}")
    }

    fn headers(&self) -> Tokens {
        let jwk = self.stranger.public();
        let mut tokens = vec![
            ("jku".to_owned(), self.with_header("jku", json!("https://evil.example/keys"))),
            ("x5u".to_owned(), self.with_header("x5u", json!("https://evil.example/certificate"))),
            ("x5c".to_owned(), self.with_header("x5c", json!(["MII="]))),
            ("jwk".to_owned(), self.with_header("jwk", jwk.clone())),
            ("jwk null".to_owned(), self.with_header("jwk", Value::Null)),
            ("crit".to_owned(), self.with_header("crit", json!(["exp"]))),
            ("crit empty".to_owned(), self.with_header("crit", json!([]))),
            ("b64".to_owned(), self.with_header("b64", json!(false))),
            ("zip".to_owned(), self.with_header("zip", json!("DEF"))),
            ("enc".to_owned(), self.with_header("enc", json!("A128GCM"))),
            ("typ an array".to_owned(), self.with_header("typ", json!([self.typ]))),
            ("typ a number".to_owned(), self.with_header("typ", json!(7))),
            ("typ null".to_owned(), self.with_header("typ", Value::Null)),
            ("typ empty".to_owned(), self.with_header("typ", json!(""))),
            ("typ another".to_owned(), self.with_header("typ", json!("at+jwt"))),
        ];
        let mut forged = self.stranger.header(self.typ);
        (forged["jwk"], forged["kid"]) = (jwk, json!(self.signer.kid));
        tokens.push(("its own jwk".into(), self.stranger.sign(&forged.to_string(), &self.claims.to_string())));
        if self.is_own {
            tokens.push(("typ missing".into(), self.without("typ")));
            tokens.push(("typ JWT".into(), self.with_header("typ", json!("JWT"))));
            tokens.push(("typ upper-case".into(), self.with_header("typ", json!(self.typ.to_uppercase()))));
            for typ in ["understudy-access+jwt", "understudy-relay+jwt", "understudy-grant+jwt"] {
                if typ != self.typ {
                    tokens.push((format!("typ {typ}"), self.with_header("typ", json!(typ))));
                }
            }
        }
        tokens
    }

    fn key_names(&self) -> Tokens {
        let claims = self.claims.to_string();
        let mut masked = self.stranger.header(self.typ);
        masked["kid"] = json!(self.signer.kid);
        let names = [
            ("unknown", json!("unknown")),
            ("empty", json!("")),
            ("too long", json!("k".repeat(65))),
            ("a path", json!("../../../../dev/null")),
            ("an absolute path", json!("/etc/passwd")),
            ("an address", json!("https://evil.example/key")),
            ("SQL", json!("x' UNION SELECT 'AA'; --")),
            ("a command", json!("$(id)")),
            ("not ASCII", json!("клюк")),
            ("with a zero", json!(format!("{}\0", self.signer.kid))),
            ("with a space", json!(format!("{} ", self.signer.kid))),
            ("a number", json!(0)),
            ("null", Value::Null),
            ("an array", json!([self.signer.kid])),
            ("an object", json!({"kid": self.signer.kid})),
        ];
        let mut tokens: Tokens =
            names.into_iter().map(|(name, kid)| (format!("kid {name}"), self.with_header("kid", kid))).collect();
        tokens.push(("kid missing".into(), self.without("kid")));
        tokens.push(("a stranger's key under its own name".into(), {
            self.stranger.sign(&self.stranger.header(self.typ).to_string(), &claims)
        }));
        tokens.push(("a stranger's key under the right name".into(), self.stranger.sign(&masked.to_string(), &claims)));
        tokens
    }

    fn wrong_claims(&self) -> Tokens {
        let mut tokens = Vec::new();
        let wrong = [
            ("iss", json!("https://evil.example")),
            ("iss", json!("")),
            ("iss", json!([self.claims["iss"]])),
            ("iss", json!({"iss": self.claims["iss"]})),
            ("iss", Value::Null),
            ("aud", json!("understudy:nobody")),
            ("aud", json!("")),
            ("aud", json!([])),
            ("aud", json!([[self.claims["aud"]]])),
            ("aud", json!({"aud": self.claims["aud"]})),
            ("aud", json!({"understudy:api": null})),
            ("aud", json!(["another", 7])),
            ("aud", json!(7)),
            ("aud", Value::Null),
            ("sub", json!("")),
            ("sub", json!(7)),
            ("sub", json!([self.claims["sub"]])),
            ("sub", json!({"sub": self.claims["sub"]})),
            ("sub", Value::Null),
        ];
        for (name, value) in wrong {
            tokens.push((format!("{name} {value}"), self.with_claim(name, value)));
        }
        for name in ["iss", "aud", "sub", "exp", "iat"] {
            tokens.push((format!("{name} missing"), self.without(name)));
        }
        if self.is_own {
            for (name, value) in
                [("sub", json!("nobody")), ("jti", json!(7)), ("jti", json!("")), ("aud", json!(["understudy:api"]))]
            {
                tokens.push((format!("{name} {value}"), self.with_claim(name, value)));
            }
            tokens.push(("jti missing".into(), self.without("jti")));
            tokens.push(("nbf missing".into(), self.without("nbf")));
        } else {
            tokens.push(("sub too long".into(), self.with_claim("sub", json!("s".repeat(256)))));
        }
        tokens
    }

    fn times(&self) -> Tokens {
        let now_s = now_s();
        let wrong = [
            ("exp", json!(now_s - 60)),
            ("exp", json!(0)),
            ("exp", json!(-1)),
            ("exp", json!((now_s + 60).to_string())),
            ("exp", json!(now_s as f64 + 60.5)),
            ("exp", json!(1e300)),
            ("exp", json!(u64::MAX)),
            ("exp", json!(now_s + 10 * 365 * 24 * 3600)),
            ("exp", json!([now_s + 60])),
            ("exp", json!(true)),
            ("exp", Value::Null),
            ("nbf", json!(now_s + 60)),
            ("nbf", json!(u64::MAX)),
            ("nbf", json!(now_s.to_string())),
            ("nbf", json!(-1)),
            ("nbf", json!(now_s as f64 - 0.5)),
            ("iat", json!(now_s + 60)),
            ("iat", json!(now_s.to_string())),
            ("iat", json!(-1)),
            ("iat", Value::Null),
        ];
        wrong.into_iter().map(|(name, value)| (format!("{name} {value}"), self.with_claim(name, value))).collect()
    }

    fn shapes(&self) -> Tokens {
        let honest = self.honest();
        let parts: Vec<&str> = honest.split('.').collect();
        let (header, claims, signature) = (parts[0], parts[1], parts[2]);
        let (header_text, claims_text) = (self.header().to_string(), self.claims.to_string());
        let mut other = self.claims.clone();
        other["iat"] = json!(now_s() - 1);
        let other = self.signer.sign(&header_text, &other.to_string());
        let other_signature = other.rsplit('.').next().unwrap_or_default();
        let doubled = claims_text.replacen('{', &format!("{{\"sub\":{},", self.claims["sub"]), 1);
        let doubled_header = header_text.replacen('{', &format!("{{\"alg\":\"none\",\"kid\":\"{}\",", "k"), 1);
        let nested = claims_text.replacen('{', "{\"x\":{\"a\":1,\"a\":2},", 1);
        let deep = claims_text.replacen('{', &format!("{{\"x\":{}{},", "[".repeat(200), "]".repeat(200)), 1);
        let long = claims_text.replacen('{', &format!("{{\"x\":\"{}\",", "x".repeat(5 * 1024)), 1);
        let sign = |header: &str, claims: &str| self.signer.sign(header, claims);
        let flipped = |text: &str| {
            let first = if text.starts_with('A') { 'B' } else { 'A' };
            format!("{first}{}", &text[1..])
        };
        let named = [
            ("empty", String::new()),
            ("one dot", ".".into()),
            ("two dots", "..".into()),
            ("a word", "token".into()),
            ("not ASCII", format!("{header}.{claims}.é")),
            ("a header alone", header.into()),
            ("without a signature", format!("{header}.{claims}")),
            ("an empty signature", format!("{header}.{claims}.")),
            ("an empty header", format!(".{claims}.{signature}")),
            ("empty claims", format!("{header}..{signature}")),
            ("truncated", honest[..honest.len() - 20].into()),
            ("a cut signature", format!("{header}.{claims}.{}", &signature[..4])),
            ("a doubled signature", format!("{header}.{claims}.{signature}{signature}")),
            ("a wrong signature", format!("{header}.{claims}.{}", flipped(signature))),
            ("the signature of another token", format!("{header}.{claims}.{other_signature}")),
            ("the header as the signature", format!("{header}.{claims}.{header}")),
            ("a changed header", format!("{}.{claims}.{signature}", encode(header_text.replacen('{', "{ ", 1)))),
            ("changed claims", format!("{header}.{}.{signature}", encode(claims_text.replacen('{', "{ ", 1)))),
            ("an extra part", format!("{honest}.{signature}")),
            ("an extra dot", format!("{honest}.")),
            ("five parts, as if it were encrypted", format!("{header}.{signature}.{signature}.{claims}.{signature}")),
            ("padded", format!("{}.{claims}.{signature}=", URL_SAFE.encode(&header_text))),
            ("a padded signature", format!("{honest}==")),
            ("the other base64", format!("{header}.{claims}.+/{}", &signature[2..])),
            ("a space within", honest.replacen('.', ". ", 1)),
            ("a tab at the end", format!("{honest}\t.")),
            ("in quotes", format!("\"{honest}\"")),
            ("with Bearer", format!("Bearer {honest}")),
            ("as JSON", json!({"protected": header, "payload": claims, "signature": signature}).to_string()),
            ("a name twice", sign(&header_text, &doubled)),
            ("a header twice", sign(&doubled_header, &claims_text)),
            ("a nested name twice", sign(&header_text, &nested)),
            ("too deep", sign(&header_text, &deep)),
            ("too long", sign(&header_text, &long)),
            ("claims an array", sign(&header_text, &format!("[{claims_text}]"))),
            ("claims a text", sign(&header_text, "\"claims\"")),
            ("claims null", sign(&header_text, "null")),
            ("claims without an end", sign(&header_text, &claims_text[..claims_text.len() - 1])),
            ("claims and more", sign(&header_text, &format!("{claims_text}{claims_text}"))),
            ("claims no JSON", sign(&header_text, "sub=ada")),
            ("no claims at all", sign(&header_text, "{}")),
            ("a header without an end", sign(&header_text[..header_text.len() - 1], &claims_text)),
            ("a header that is an array", sign(&format!("[{header_text}]"), &claims_text)),
            ("an empty object as the header", sign("{}", &claims_text)),
        ];
        named.into_iter().map(|(name, token)| (name.to_owned(), token)).collect()
    }
}
