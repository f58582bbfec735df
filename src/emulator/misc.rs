//! Tokens, upload nodes and the account itself [API §2, §3, §19].

use std::time::Duration;

use super::account::Offer;
use super::json::Json;
use super::refusal::Refusal;
use super::state::{Token, UploadId};
use super::v1::Call;

/// How long ids and tokens are kept at least; both are useless before that.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3_600);

pub(super) fn get_upload_server(call: &mut Call<'_>) -> Json {
    let id = call.state.new_upload_id();
    let now = call.now;
    call.state
        .uploads
        .retain(|_, upload| now.saturating_duration_since(upload.issued) < FORGOTTEN);
    call.state.uploads.insert(
        id.clone(),
        UploadId {
            issued: now,
            used: false,
        },
    );
    let turn = call.state.turn();
    // No status on success [API §3].
    Json::object([("url", call.hosts.node(turn).into()), ("id", id.into())])
}

pub(super) fn get_token(call: &mut Call<'_>) -> Result<Json, Refusal> {
    let account = call.account()?;
    let options = call
        .state
        .store
        .accounts
        .get(account)
        .map(|account| account.options.clone())
        .ok_or_else(Refusal::not_authenticated)?;
    let credits = options.cdn_credits > 0.0;
    if options.offer == Offer::Free && !credits {
        return Err(Refusal::new(
            403,
            "Must be a customer (Premium, Access) #236",
        ));
    }
    let id = call.readable_file()?;
    let file = call.state.store.file(&id).ok_or_else(Refusal::not_found)?;
    let owner = file
        .account
        .and_then(|owner| call.state.store.accounts.get(owner));
    if owner.is_some_and(|owner| owner.options.locked) {
        return Err(Refusal::new(403, "Owner locked #620"));
    }
    let behaviour = &call.state.behaviour;
    let with_credits = credits && (behaviour.cdn_forced || call.flag("cdn"));
    if behaviour.professional_equipment && options.offer != Offer::Gold && !with_credits {
        return Err(Refusal::new(
            403,
            "You are using a professional equipment, must have CDN credits #913",
        ));
    }
    let inline = call.flag("inline") || file.inline;
    let single = call.flag("single");
    let now = call.now;
    if call.state.tokens.len().is_multiple_of(1_024) {
        call.state
            .tokens
            .retain(|_, token| now.saturating_duration_since(token.issued) < FORGOTTEN);
    }
    let token = format!("p{}", call.state.random_text(10, b"0123456789"));
    call.state.tokens.insert(
        token.clone(),
        Token {
            file: id,
            single,
            inline,
            issued: now,
            used: false,
        },
    );
    Ok(Json::object([
        ("status", "OK".into()),
        ("url", call.hosts.token_url(&token).into()),
    ]))
}

pub(super) fn user_info(call: &mut Call<'_>) -> Result<Json, Refusal> {
    let account = call.account()?;
    let state = &mut *call.state;
    state
        .limiter
        .admit_user_info(&state.limits, call.ip, account, call.now)?;
    let account = state
        .store
        .accounts
        .get(account)
        .ok_or_else(Refusal::not_authenticated)?;
    let options = &account.options;
    let (used, quota, cold) = (account.used, options.quota_bytes, options.cold_storage);
    let left = |used: u64| Json::Int(signed(quota).saturating_sub(signed(used)));
    let year = 365 * 86_400;
    // Which members are strings is as observed [API §19].
    Ok(Json::object([
        ("status", "OK".into()),
        ("email", options.email.as_str().into()),
        ("offer", options.offer.code().into()),
        (
            "subscription_end",
            call.clock.local(call.clock.date() + year).into(),
        ),
        ("stats_date", call.clock.local(call.clock.date()).into()),
        ("2fa", "0".into()),
        ("mail_rm", "0".into()),
        (
            "upload_forbidden",
            if options.upload_forbidden { "1" } else { "0" }.into(),
        ),
        ("use_cdn", "0".into()),
        ("default_port", "0".into()),
        ("default_port_files", "0".into()),
        ("download_menu", "0".into()),
        ("ftp_mode", "0".into()),
        ("ftp_report", "0".into()),
        ("ru_report", "0".into()),
        ("cdn", options.cdn_credits.to_string().into()),
        ("default_domain", Json::Int(0)),
        ("page_limit", Json::Int(100)),
        ("ftp_did", Json::Int(0)),
        ("hot_storage", used.into()),
        ("cold_storage", cold.into()),
        ("default_quota", quota.into()),
        ("default_cold_storage_quota", quota.into()),
        ("allowed_cold_storage", quota.into()),
        ("available_storage", left(used)),
        ("available_cold_storage", left(cold)),
        ("overquota", (used > quota).into()),
    ]))
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
