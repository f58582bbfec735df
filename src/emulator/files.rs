//! The `file` operations that are not listings [API §7 to §13].

use std::sync::Arc;

use serde_json::Value;

use super::behaviour::{
    Batch, DatesOnMove, InfoContentType, MvSameFolder, MvWithRename, RenameSameName, RmMissing,
    UrlStability,
};
use super::json::Json;
use super::refusal::Refusal;
use super::store::{Acl, FileId};
use super::v1::Call;

/// The largest file that is scanned on demand, in bytes [API §8].
const SCAN_LIMIT: u64 = 5_000_000_000;

pub(super) fn info(call: &mut Call<'_>) -> Result<Json, Refusal> {
    let id = call.readable_file()?;
    let store = &call.state.store;
    let file = store.file(&id).ok_or_else(Refusal::not_found)?;
    let path = file
        .account
        .map_or_else(String::new, |account| store.path(account, file.folder));
    let kind = match call.state.behaviour.info_content_type {
        InfoContentType::Underscore => "content_type",
        InfoContentType::Hyphen => "content-type",
    };
    let acl = if file.acl == Acl::default() {
        Json::Null
    } else {
        let texts = |texts: &[String]| -> Json {
            let texts: Vec<Json> = texts.iter().map(|text| text.as_str().into()).collect();
            texts.into()
        };
        Json::object([
            ("ip", texts(&file.acl.ip)),
            ("country", texts(&file.acl.country)),
            ("email", texts(&file.acl.email)),
            ("premium", file.acl.premium.into()),
        ])
    };
    let answer = Json::object([
        ("url", file.url(&id).into()),
        ("filename", file.name.as_str().into()),
        ("size", file.size.into()),
        ("date", call.clock.local(file.date).into()),
        ("folder_id", file.folder.into()),
        ("path", path.into()),
        ("checksum", (*file.whirlpool).into()),
        (kind, file.content_type.into()),
        ("description", file.description.as_str().into()),
        ("pass", file.pass.is_some().into()),
        ("no_ssl", file.no_ssl.into()),
        ("inline", file.inline.into()),
        ("cdn", file.cdn.into()),
        ("acl", acl),
    ]);
    if call.state.behaviour.info_status {
        return Ok(answer.with("status", "OK"));
    }
    Ok(answer)
}

pub(super) fn scan(call: &mut Call<'_>) -> Result<Json, Refusal> {
    let id = call.readable_file()?;
    let file = call.state.store.file(&id).ok_or_else(Refusal::not_found)?;
    if file.size >= SCAN_LIMIT {
        return Err(Refusal::ko("File too large to be scanned"));
    }
    Ok(Json::object([
        ("status", "OK".into()),
        ("message", "No virus found".into()),
        ("date", call.clock.local(call.clock.date()).into()),
    ]))
}

pub(super) fn rm(call: &mut Call<'_>) -> Result<Json, Refusal> {
    let mut wanted = Vec::new();
    for item in call.list("files")? {
        let url = item.get("url").and_then(Value::as_str);
        let url = url.ok_or_else(|| Refusal::bad_member("files"))?;
        let code = item.get("code").and_then(Value::as_str).unwrap_or("");
        wanted.push((url.to_owned(), code.to_owned()));
    }
    if wanted.is_empty() {
        return Err(Refusal::bad_member("files"));
    }
    let found: Vec<(FileId, String)> = wanted
        .iter()
        .filter_map(|(url, code)| Some((removable(call, url, code)?, url.clone())))
        .collect();
    if found.is_empty() {
        return match call.state.behaviour.rm_missing {
            RmMissing::RemovedZero => Ok(removed(Vec::new())),
            RmMissing::Ko => Err(Refusal::ko("Resource not found #469")),
            RmMissing::NotFound => Err(Refusal::not_found()),
        };
    }
    check_batch(call, wanted.len(), found.len())?;
    let until = call.now + call.state.behaviour.index_delay;
    let mut urls = Vec::new();
    for (id, url) in found.into_iter().take(call.items) {
        // A link may be named twice; it is removed once.
        if call.state.store.remove_file(&id, Some(until)).is_some() {
            urls.push(url.into());
        }
    }
    Ok(removed(urls))
}

fn removed(urls: Vec<Json>) -> Json {
    Json::object([
        ("status", "OK".into()),
        ("removed", urls.len().into()),
        ("urls", urls.into()),
    ])
}

/// Own files, and guests' files with their code.
fn removable(call: &Call<'_>, url: &str, code: &str) -> Option<FileId> {
    call.own_file(url).or_else(|| {
        let id = call.state.store.find(url)?;
        let file = call.state.store.file(&id)?;
        (file.account.is_none() && !code.is_empty() && file.code == code).then_some(id)
    })
}

/// Whether a batch with unusable items may go on [API J11].
fn check_batch(call: &Call<'_>, wanted: usize, usable: usize) -> Result<(), Refusal> {
    if usable == 0 || (usable < wanted && call.state.behaviour.batch == Batch::AllOrNothing) {
        return Err(Refusal::ko("Resource not found #469"));
    }
    Ok(())
}

pub(super) fn mv(call: &mut Call<'_>) -> Result<Json, Refusal> {
    call.only_own("destination_user")?;
    let urls = call.texts("urls")?;
    if call.member("destination_folder_id").is_none() {
        return Err(Refusal::bad_member("destination_folder_id"));
    }
    let folder = call.target(call.folder_id("destination_folder_id")?)?;
    let mut rename = one_name(call, "rename", urls.len())?;
    let files: Vec<FileId> = urls.iter().filter_map(|url| call.own_file(url)).collect();
    let elsewhere: Vec<FileId> = files
        .iter()
        .filter(|id| {
            call.state
                .store
                .file(id)
                .is_some_and(|file| file.folder != folder)
        })
        .cloned()
        .collect();
    let ignore = call.state.behaviour.mv_same_folder == MvSameFolder::Ignore;
    if !files.is_empty() && elsewhere.is_empty() {
        return if ignore {
            Ok(moved(call, &files, None))
        } else {
            Err(Refusal::ko("Nothing to move #287"))
        };
    }
    let usable = if ignore { files.len() } else { elsewhere.len() };
    check_batch(call, urls.len(), usable)?;
    if let (Some(name), [id]) = (&rename, elsewhere.as_slice()) {
        let same = call
            .state
            .store
            .file(id)
            .is_some_and(|file| file.name == *name);
        if same && call.state.behaviour.rename_same_name == RenameSameName::Refuse {
            return Err(Refusal::ko("Same filename #291"));
        }
    }
    match call.state.behaviour.mv_with_rename {
        MvWithRename::Refuse if rename.is_some() => {
            return Err(Refusal::ko(
                "Files cannot be renamed while they are moved #295",
            ));
        }
        MvWithRename::KeepsName => rename = None,
        _ => {}
    }
    let mut done = Vec::new();
    for id in elsewhere.into_iter().take(call.items) {
        if let Some(mut file) = call.state.store.remove_file(&id, None) {
            file.folder = folder;
            if let Some(name) = &rename {
                file.content_type = super::store::content_type(name);
                file.name.clone_from(name);
            }
            done.push(put_back(call, id, file));
        }
    }
    Ok(moved(call, &done, rename))
}

fn moved(call: &Call<'_>, files: &[FileId], rename: Option<String>) -> Json {
    let urls: Vec<Json> = files.iter().map(|id| url(call, id).into()).collect();
    let answer = Json::object([
        ("status", "OK".into()),
        ("moved", urls.len().into()),
        ("urls", told(call, urls)),
    ]);
    match rename {
        Some(name) => answer.with("filename", name),
        None => answer,
    }
}

/// The links that an answer tells.
fn told(call: &Call<'_>, urls: Vec<Json>) -> Json {
    if call.state.behaviour.told_urls {
        urls.into()
    } else {
        Vec::<Json>::new().into()
    }
}

fn url(call: &Call<'_>, id: &FileId) -> String {
    let file = call.state.store.file(id);
    file.map_or_else(String::new, |file| file.url(id))
}

/// Stores a changed file again, under its link or a new one [API J13], with its date or a new one
/// [API J8].
fn put_back(call: &mut Call<'_>, id: FileId, mut file: super::store::File) -> FileId {
    if call.state.behaviour.dates_on_move == DatesOnMove::AlwaysNew {
        file.date = call.clock.date();
    }
    let id = match call.state.behaviour.url_stability {
        UrlStability::Stable => id,
        UrlStability::Changes => call.state.new_file_id(),
    };
    call.state.store.add_file(Arc::clone(&id), file);
    id
}

/// A new name, which may be given only with a single link.
fn one_name(call: &Call<'_>, member: &str, links: usize) -> Result<Option<String>, Refusal> {
    match call.text(member)? {
        None | Some("") => Ok(None),
        Some(_) if links != 1 => Err(Refusal::bad_member(member)),
        Some(name) => call.name(name).map(Some),
    }
}

pub(super) fn rename(call: &mut Call<'_>) -> Result<Json, Refusal> {
    let mut wanted = Vec::new();
    for item in call.list("urls")? {
        let member = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
        match (member("url"), member("filename")) {
            (Some(url), Some(name)) => wanted.push((url, call.name(&name)?)),
            _ => return Err(Refusal::bad_member("urls")),
        }
    }
    let usable: Vec<(FileId, String)> = wanted
        .iter()
        .filter_map(|(url, name)| {
            let id = call.own_file(url)?;
            let differs = call.state.store.file(&id)?.name != *name;
            differs.then(|| (id, name.clone()))
        })
        .collect();
    if usable.is_empty() {
        return Err(Refusal::ko("No file has been renamed #312"));
    }
    check_batch(call, wanted.len(), usable.len())?;
    let mut renamed: Vec<Json> = Vec::new();
    for (id, name) in usable.into_iter().take(call.items) {
        let Some(mut file) = call.state.store.remove_file(&id, None) else {
            continue;
        };
        file.content_type = super::store::content_type(&name);
        let old = std::mem::replace(&mut file.name, name.clone());
        let id = put_back(call, id, file);
        renamed.push(Json::object([
            ("url", url(call, &id).into()),
            ("old_filename", old.into()),
            ("new_filename", name.into()),
        ]));
    }
    Ok(Json::object([
        ("status", "OK".into()),
        ("renamed", renamed.len().into()),
        ("urls", told(call, renamed)),
    ]))
}

pub(super) fn cp(call: &mut Call<'_>) -> Result<Json, Refusal> {
    call.only_own("sharing_user")?;
    let account = call.account()?;
    let urls = call.texts("urls")?;
    let folder = call.target(call.folder_id("folder_id")?)?;
    // Unlike in a move, the name may be the one the file has [API §12].
    let rename = one_name(call, "rename", urls.len())?;
    let mut usable: Vec<(FileId, String)> = Vec::new();
    let mut last = None;
    for url in urls.iter() {
        let found = call.state.store.find(url).and_then(|id| {
            let file = call.state.store.file(&id)?;
            Some((call.check_readable(file), id))
        });
        match found {
            Some((Ok(()), id)) => usable.push((id, url.clone())),
            Some((Err(refusal), _)) => last = Some(refusal),
            None => {}
        }
    }
    if let (true, Some(refusal)) = (usable.is_empty(), last) {
        return Err(refusal);
    }
    check_batch(call, urls.len(), usable.len())?;
    let mut copied: Vec<Json> = Vec::new();
    for (id, from) in usable.into_iter().take(call.items) {
        let Some(mut copy) = call.state.store.file(&id).cloned() else {
            continue;
        };
        let room = call
            .state
            .store
            .accounts
            .get(account)
            .is_some_and(|account| {
                account.used.saturating_add(copy.size) <= account.options.quota_bytes
            });
        if !room {
            return Err(Refusal::ko("Quota exceeded"));
        }
        copy.account = Some(account);
        copy.folder = folder;
        copy.visible = call.now + call.state.behaviour.index_delay;
        copy.pass = None;
        copy.acl = Acl::default();
        copy.domain = 0;
        if call.state.behaviour.dates_on_move != DatesOnMove::AlwaysKept {
            copy.date = call.clock.date();
        }
        if let Some(name) = &rename {
            copy.content_type = super::store::content_type(name);
            copy.name.clone_from(name);
        }
        let id = call.state.new_file_id();
        call.state.store.add_file(Arc::clone(&id), copy);
        copied.push(Json::object([
            ("from_url", from.into()),
            ("to_url", url(call, &id).into()),
        ]));
    }
    let answer = Json::object([
        ("status", "OK".into()),
        ("copied", copied.len().into()),
        ("urls", told(call, copied)),
    ]);
    Ok(match rename {
        Some(name) => answer.with("filename", name),
        None => answer,
    })
}

pub(super) fn chattr(call: &mut Call<'_>) -> Result<Json, Refusal> {
    let urls = call.texts("urls")?;
    let name = one_name(call, "filename", urls.len())?;
    let pass = call.text("pass")?.map(str::to_owned);
    if pass
        .as_ref()
        .is_some_and(|pass| !pass.is_empty() && pass.chars().count() < 6)
    {
        return Err(Refusal::ko("Password too short"));
    }
    let description = call.text("description")?.map(str::to_owned);
    let flag = |name: &str| call.member(name).is_some().then(|| call.flag(name));
    let (no_ssl, inline, cdn) = (flag("no_ssl"), flag("inline"), flag("cdn"));
    let acl = call.member("acl").map(read_acl);
    let files: Vec<FileId> = urls.iter().filter_map(|url| call.own_file(url)).collect();
    check_batch(call, urls.len(), files.len())?;
    let mut updated: Vec<Json> = Vec::new();
    for id in files.into_iter().take(call.items) {
        let Some(file) = call.state.store.file_mut(&id) else {
            continue;
        };
        let mut changed = false;
        if let Some(name) = &name {
            changed |= set(&mut file.name, name.clone());
        }
        if let Some(pass) = &pass {
            changed |= set(&mut file.pass, (!pass.is_empty()).then(|| pass.clone()));
        }
        if let Some(description) = &description {
            changed |= set(&mut file.description, description.clone());
        }
        if let Some(acl) = &acl {
            changed |= set(&mut file.acl, acl.clone());
        }
        changed |= no_ssl.is_some_and(|value| set(&mut file.no_ssl, value));
        changed |= inline.is_some_and(|value| set(&mut file.inline, value));
        changed |= cdn.is_some_and(|value| set(&mut file.cdn, value));
        if changed {
            file.content_type = super::store::content_type(&file.name);
            updated.push(url(call, &id).into());
        }
    }
    if updated.is_empty() {
        return Err(Refusal::ko("No changes requested"));
    }
    Ok(Json::object([
        ("status", "OK".into()),
        ("updated", updated.len().into()),
        ("urls", updated.into()),
    ]))
}

/// Sets a value and tells whether it was another.
fn set<T: PartialEq>(place: &mut T, value: T) -> bool {
    let changed = *place != value;
    *place = value;
    changed
}

fn read_acl(value: &Value) -> Acl {
    let texts = |name: &str| -> Vec<String> {
        let list = value.get(name).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect()
    };
    Acl {
        ip: texts("ip"),
        country: texts("country"),
        email: texts("email"),
        premium: value.get("premium").and_then(Value::as_i64) == Some(1),
    }
}
