//! Who calls over HTTP: by a bearer token, or by one as the password of Basic
//! authentication, whose user name is not looked at.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::gate::bearer;
use super::seldom::Seldom;
use crate::access::{Caller, Tokens};
use crate::error::Reason;
use crate::http::{Failure, Request, Response, is_of_another_site, names_this_machine};

/// The gate of an HTTP listener.
#[derive(Clone, Debug)]
pub(super) struct HttpGate {
    tokens: Tokens,
    /// Nobody but the user of the server can connect.
    private: bool,
    /// Only programs on this machine can connect, and so can web pages that a
    /// browser here shows.
    local: bool,
    refused: Arc<Seldom>,
}

impl HttpGate {
    pub(super) fn new(tokens: Tokens, private: bool, local: bool) -> Self {
        Self {
            tokens,
            private,
            local,
            refused: Arc::default(),
        }
    }

    /// Whose call it is. Takes the token out of the request: no face needs it,
    /// and what logs requests must not see it.
    pub(super) fn caller(&self, request: &mut Request) -> Result<Caller, Unauthorized> {
        let presented = presented(request.headers());
        request.headers_mut().remove(header::AUTHORIZATION);
        let caller = match &presented {
            Presented::Nothing => self.tokens.caller(None, self.private),
            Presented::Token(token) => self.tokens.caller(Some(token), self.private),
            // Who needs no token may send something all the same.
            Presented::User(_) if self.private || !self.tokens.needed() => {
                self.tokens.caller(None, self.private)
            }
            Presented::User(_) | Presented::Other => None,
        };
        caller.ok_or_else(move || {
            if let Some(times) = self.refused.happened() {
                tracing::info!(times, "refused requests without a valid token");
            }
            Unauthorized(presented)
        })
    }

    /// Refuses what a web page of a stranger has a browser ask: neither what
    /// needs no token on this machine nor a password that the browser keeps is
    /// for it.
    ///
    /// # Errors
    /// 403, or 421 where the page has led its own name here.
    pub(super) fn check_origin(&self, request: &Request) -> Result<(), Failure> {
        if is_of_another_site(request) {
            let text = "pages of other sites may not use this address";
            return Err(Failure::new(StatusCode::FORBIDDEN, text));
        }
        if self.local && !self.tokens.needed() && !names_this_machine(request) {
            let text = "without tokens this address is for programs on this machine; ask for it as localhost or by its \
                        number, or make a token with pluton-fichier token create";
            return Err(Failure::new(StatusCode::MISDIRECTED_REQUEST, text));
        }
        Ok(())
    }

    /// Ends when the token of the caller is not valid any more.
    pub(super) async fn revoked(self, caller: Caller) -> Response {
        match caller {
            Caller::Trusted => std::future::pending().await,
            Caller::Holder(token) => {
                self.tokens.revoked(token).await;
                Unauthorized(Presented::Other).into()
            }
        }
    }
}

/// What came in the header.
#[derive(Debug, PartialEq, Eq)]
enum Presented {
    Nothing,
    Token(Vec<u8>),
    /// A user name without a password.
    User(String),
    Other,
}

fn presented(headers: &HeaderMap) -> Presented {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Presented::Nothing,
        (Some(value), None) => value.as_bytes(),
        // Of several, which one is meant?
        (Some(_), Some(_)) => return Presented::Other,
    };
    if let Some(token) = bearer(value) {
        return Presented::Token(token.to_owned());
    }
    let basic = value
        .split_at_checked("Basic ".len())
        .and_then(|(scheme, text)| {
            let basic = scheme.eq_ignore_ascii_case(b"Basic ");
            basic.then(|| STANDARD.decode(text.trim_ascii()).ok())?
        });
    let Some(basic) = basic else {
        return Presented::Other;
    };
    let colon = basic.iter().position(|byte| *byte == b':');
    let (user, password) = basic.split_at(colon.unwrap_or(basic.len()));
    match password.get(1..) {
        None | Some(b"" | b"undefined") => {
            Presented::User(String::from_utf8_lossy(user).into_owned())
        }
        Some(token) => Presented::Token(token.to_owned()),
    }
}

/// A request without a valid token.
#[derive(Debug)]
pub(super) struct Unauthorized(Presented);

impl From<Unauthorized> for Response {
    fn from(Unauthorized(presented): Unauthorized) -> Self {
        let text = match presented {
            // Pluton sends this for a form that was left empty.
            Presented::User(user) if user == "undefined" => {
                "the user and the password are not set (they came as \"undefined\"): open the advanced settings of \
             the storage, and enter any user name, and as the password a token that pluton-fichier token create \
             has made"
            }
            Presented::User(_) => {
                "there is no password: enter as the password a token that pluton-fichier token create has made"
            }
            Presented::Nothing | Presented::Token(_) | Presented::Other => {
                "a valid token is needed: send it as the password, with any user name, or as \"Authorization: Bearer \
             TOKEN\"; pluton-fichier token create makes one"
            }
        };
        let failure = Failure {
            reason: Some(Reason::TokenInvalid),
            ..Failure::new(StatusCode::UNAUTHORIZED, text)
        };
        let mut response: Response = failure.into();
        let schemes = HeaderValue::from_static(
            "Basic realm=\"pluton-fichier\", charset=\"UTF-8\", Bearer realm=\"pluton-fichier\"",
        );
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, schemes);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_in_headers() {
        let token = |text: &str| Presented::Token(text.as_bytes().to_vec());
        let user = |text: &str| Presented::User(text.to_owned());
        let basic = |text: &str| format!("basic {}", STANDARD.encode(text));
        for (value, expected) in [
            ("Bearer abc".to_owned(), token("abc")),
            (basic("me:abc"), token("abc")),
            (basic(":a:b"), token("a:b")),
            (basic("me:"), user("me")),
            (basic("me"), user("me")),
            (basic("undefined:undefined"), user("undefined")),
            ("Basic !".to_owned(), Presented::Other),
            ("Digest abc".to_owned(), Presented::Other),
        ] {
            let mut headers = HeaderMap::new();
            assert_eq!(presented(&headers), Presented::Nothing);
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            assert_eq!(presented(&headers), expected, "{value}");
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
            assert_eq!(presented(&headers), Presented::Other, "{value}");
        }
    }
}
