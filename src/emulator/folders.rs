//! The `folder` operations that are not listings [API §15 to §18].

use serde_json::Value;

use super::behaviour::{MkdirExisting, MvRename};
use super::json::Json;
use super::listing::share_url;
use super::refusal::Refusal;
use super::store::Share;
use super::v1::Call;

pub(super) fn mkdir(call: &mut Call<'_>) -> Result<Json, Refusal> {
    call.only_own("sharing_user")?;
    let account = call.account()?;
    let name = call
        .text("name")?
        .ok_or_else(|| Refusal::bad_member("name"))?;
    let name = call.name(name)?;
    let parent = call.target(call.folder_id("folder_id")?)?;
    let existing = call.state.store.child(account, parent, &name);
    let id = match (existing, call.state.behaviour.mkdir_existing) {
        (Some(_), MkdirExisting::Refuse) => return Err(exists()),
        (Some(id), MkdirExisting::ReturnExisting) => id,
        (None, _) | (Some(_), MkdirExisting::Duplicate) => {
            let when = call.when();
            call.state.add_folder(account, parent, name.clone(), when)
        }
    };
    Ok(Json::object([
        ("status", "OK".into()),
        ("folder_id", id.into()),
        ("name", name.into()),
    ]))
}

/// The text is the web console's, in other words: the API's is unknown [API §15].
fn exists() -> Refusal {
    Refusal::ko("Folder already exists")
}

pub(super) fn rm(call: &mut Call<'_>) -> Result<Json, Refusal> {
    let account = call.account()?;
    let id = call.folder_id("folder_id")?;
    if id == 0 {
        return Err(Refusal::ko("Root folder cannot be removed"));
    }
    if call.state.store.folder(account, id).is_none() {
        return Err(Refusal::not_found());
    }
    if !call.state.store.is_empty(account, id, call.now) {
        return Err(Refusal::ko("Folder not empty"));
    }
    let when = call.when();
    call.state.remove_folder(account, id, when);
    Ok(Json::object([("status", "OK".into())]))
}

pub(super) fn mv(call: &mut Call<'_>) -> Result<Json, Refusal> {
    call.only_own("destination_user")?;
    let account = call.account()?;
    let id = call.folder_id("folder_id")?;
    let Some(folder) = call.state.store.folder(account, id).filter(|_| id != 0) else {
        return Err(Refusal::not_found());
    };
    let (old_name, old_parent) = (folder.name.clone(), folder.parent);
    let rename = match call.text("rename")? {
        None | Some("") => None,
        Some(name) => Some(call.name(name)?),
    };
    let in_place =
        rename.is_some() && call.state.behaviour.mv_rename == MvRename::IgnoresDestination;
    let parent = if in_place {
        old_parent
    } else {
        call.target(call.folder_id("destination_folder_id")?)?
    };
    if call.state.store.is_within(account, parent, id) {
        return Err(Refusal::ko("A folder cannot be moved into itself"));
    }
    if rename.is_none() && parent == old_parent {
        return Err(Refusal::ko("Nothing to move"));
    }
    let new_name = rename.unwrap_or_else(|| old_name.clone());
    let taken = call
        .state
        .store
        .child(account, parent, &new_name)
        .is_some_and(|other| other != id);
    if taken && call.state.behaviour.mkdir_existing != MkdirExisting::Duplicate {
        return Err(exists());
    }
    let when = call.when();
    call.state.change_folder(account, id, when, |folder| {
        folder.parent = parent;
        folder.name.clone_from(&new_name);
    });
    Ok(Json::object([
        ("status", "OK".into()),
        ("message", "Folder moved".into()),
        ("old_name", old_name.into()),
        ("new_name", new_name.into()),
    ]))
}

pub(super) fn share(call: &mut Call<'_>) -> Result<Json, Refusal> {
    let account = call.account()?;
    let id = call.folder_id("folder_id")?;
    if call.state.store.folder(account, id).is_none() {
        return Err(Refusal::not_found());
    }
    let pass = call.text("pass")?.map(str::to_owned);
    if pass
        .as_ref()
        .is_some_and(|pass| !pass.is_empty() && pass.chars().count() < 6)
    {
        return Err(Refusal::ko("Password too short"));
    }
    let shares = match call.member("shares") {
        Some(_) => Some(call.list("shares")?.iter().filter_map(read_share).collect()),
        None => None,
    };
    let switch = call.member("share").is_some().then(|| call.flag("share"));
    let known = call
        .state
        .store
        .folder(account, id)
        .and_then(|folder| folder.share.clone());
    let when = call.when();
    match switch {
        Some(true) if known.is_none() => {
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
            let new = call.state.random_text(8, alphabet);
            call.state.set_share(account, id, Some(new), when);
        }
        Some(false) => call.state.set_share(account, id, None, when),
        _ => {}
    }
    call.state.change_folder(account, id, when, |folder| {
        if let Some(pass) = pass {
            folder.pass = Some(pass).filter(|pass| !pass.is_empty());
        }
        if let Some(shares) = shares {
            folder.shares = shares;
        }
    });
    let answer = Json::object([("status", "OK".into())]);
    let folder = call.state.store.folder(account, id);
    let Some(share) = folder.and_then(|folder| folder.share.as_deref()) else {
        return Ok(answer);
    };
    let url = if call.state.behaviour.foreign_share {
        format!("https://1fichier.com.example/dir/{share}")
    } else {
        share_url(share)
    };
    Ok(answer.with("url", url))
}

fn read_share(value: &Value) -> Option<Share> {
    let is_one = |name: &str| value.get(name).and_then(Value::as_i64) == Some(1);
    let hide_links = is_one("hide_links");
    Some(Share {
        email: value.get("email")?.as_str()?.to_owned(),
        // Hidden links imply no writing [API §16].
        rw: is_one("rw") && !hide_links,
        hide_links,
    })
}
