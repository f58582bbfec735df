//! `file/ls` and `folder/ls` [API §6, §14].

use super::behaviour::{DateWindow, EmptyArrays, UnknownFolder};
use super::clock::{Clock, is_date};
use super::file::{Acl, File, FileId};
use super::json::Json;
use super::limits::Listing;
use super::refusal::Refusal;
use super::v1::Call;

/// Files of a folder, or of the whole account.
pub(super) fn file_ls(call: &mut Call<'_>) -> Result<Json, Refusal> {
    call.only_own("sharing_user")?;
    let account = call.account()?;
    let all = call.int("folder_id")? == Some(-1);
    let window = Window::of(call)?;
    let items = if all {
        admit(call, Listing::Account)?;
        let folders: Vec<u64> = call
            .state
            .store
            .listed_folder_ids(account)
            .into_iter()
            .collect();
        let cap = call.state.behaviour.account_listing_cap;
        items(call, &folders, &window, cap, true)
    } else {
        let folder = call.folder_id("folder_id")?;
        admit(call, Listing::Files(folder))?;
        let mut folders = vec![folder];
        if call.state.store.folder(account, folder).is_none() {
            unknown(call)?;
            folders.clear();
        }
        let cap = call.state.behaviour.listing_cap;
        items(call, &folders, &window, cap, false)
    };
    let answer = Json::object([("status", "OK".into()), ("count", items.len().into())]);
    Ok(with_list(call, answer, "items", items))
}

/// A folder with its sub-folders, and its files if asked.
pub(super) fn folder_ls(call: &mut Call<'_>) -> Result<Json, Refusal> {
    call.only_own("sharing_user")?;
    let account = call.account()?;
    let id = call.folder_id("folder_id")?;
    let with_files = call.flag("files");
    admit(
        call,
        if with_files {
            Listing::Files(id)
        } else {
            Listing::Folders
        },
    )?;
    let now = call.now;
    let store = &call.state.store;
    let Some(folder) = store.shown_folder(account, id, now) else {
        unknown(call)?;
        let answer = Json::object([
            ("status", "OK".into()),
            ("folder_id", id.into()),
            ("name", "".into()),
            ("size", Json::Null),
            ("files", Json::Int(0)),
        ]);
        return Ok(with_list(call, answer, "sub_folders", Vec::new()));
    };
    let files = store.listed(account, id, now);
    let size: u64 = files.iter().map(|(_, file)| file.size).sum();
    let sub_folders = store
        .listed_folders(account, id, now)
        .into_iter()
        .map(|(id, folder)| {
            Json::object([
                ("id", id.into()),
                ("name", folder.name.as_str().into()),
                ("create_date", call.clock.local(folder.created).into()),
                ("pass", folder.pass.is_some().into()),
            ])
        })
        .collect();
    let mut answer = Json::object([
        ("status", "OK".into()),
        ("folder_id", id.into()),
        ("name", folder.name.as_str().into()),
        // Null exactly when there are no files [API §14].
        (
            "size",
            if files.is_empty() {
                Json::Null
            } else {
                size.into()
            },
        ),
        ("files", files.len().into()),
    ]);
    if id != 0 {
        answer = answer
            .with("create_date", call.clock.local(folder.created))
            .with("pass", folder.pass.is_some());
    }
    if let Some(share) = &folder.share {
        answer = answer.with("shared", share_url(share));
    }
    if !folder.shares.is_empty() {
        let shares: Vec<Json> = folder
            .shares
            .iter()
            .map(|share| {
                Json::object([
                    ("email", share.email.as_str().into()),
                    ("rw", share.rw.into()),
                    ("hide_links", share.hide_links.into()),
                ])
            })
            .collect();
        answer = answer.with("shares", shares);
    }
    answer = with_list(call, answer, "sub_folders", sub_folders);
    if with_files && !call.state.behaviour.folder_ls_ignores_files {
        let cap = call.state.behaviour.listing_cap;
        let items = items(call, &[id], &Window::default(), cap, false);
        answer = with_list(call, answer, "items", items);
    }
    Ok(answer)
}

/// The public link of a shared folder [API §16].
pub(super) fn share_url(share: &str) -> String {
    format!("https://1fichier.com/dir/{share}")
}

fn admit(call: &mut Call<'_>, listing: Listing) -> Result<(), Refusal> {
    let account = call.account()?;
    let state = &mut *call.state;
    state
        .limiter
        .admit_listing(&state.limits, call.ip, account, listing, call.now)
}

/// What a listing of an unknown folder comes to; `Ok` means an empty list.
fn unknown(call: &Call<'_>) -> Result<(), Refusal> {
    match call.state.behaviour.unknown_folder {
        UnknownFolder::NotFound => Err(Refusal::not_found()),
        UnknownFolder::Ko => Err(Refusal::ko("Resource not found #469")),
        UnknownFolder::EmptyList => Ok(()),
    }
}

/// Adds an array, in the form that empty ones have.
fn with_list(call: &mut Call<'_>, answer: Json, name: &'static str, list: Vec<Json>) -> Json {
    if !list.is_empty() {
        return answer.with(name, list);
    }
    let form = match call.state.behaviour.empty_arrays {
        EmptyArrays::Rotate => match call.state.turn() % 3 {
            0 => EmptyArrays::Absent,
            1 => EmptyArrays::Null,
            _ => EmptyArrays::Empty,
        },
        form => form,
    };
    match form {
        EmptyArrays::Null => answer.with(name, Json::Null),
        EmptyArrays::Empty => answer.with(name, list),
        EmptyArrays::Absent | EmptyArrays::Rotate => answer,
    }
}

/// The files of these folders as listings show them, in no meaningful order, cut off without a
/// sign [API J6].
fn items(
    call: &Call<'_>,
    folders: &[u64],
    window: &Window,
    cap: usize,
    with_folder: bool,
) -> Vec<Json> {
    let Ok(account) = call.account() else {
        return Vec::new();
    };
    folders
        .iter()
        .flat_map(|folder| call.state.store.listed(account, *folder, call.now))
        .filter(|(_, file)| window.contains(call.clock, file))
        .take(cap)
        .map(|(id, file)| item(call.clock, id, file, with_folder))
        .collect()
}

fn item(clock: &Clock, id: &FileId, file: &File, with_folder: bool) -> Json {
    let item = Json::object([
        ("url", file.url(id).into()),
        ("filename", file.name.as_str().into()),
        ("size", file.size.into()),
        ("date", clock.local(file.date).into()),
        ("checksum", (*file.whirlpool).into()),
        ("content-type", file.content_type.into()),
        ("pass", file.pass.is_some().into()),
        // A flag here, an object in file/info.
        ("acl", (file.acl != Acl::default()).into()),
        ("cdn", file.cdn.into()),
    ]);
    if with_folder {
        item.with("folder_id", file.folder)
    } else {
        item
    }
}

/// `sent_after` and `sent_before`. They are compared as local time: the hour that comes twice in
/// autumn cannot be told apart [API §G].
#[derive(Debug, Default)]
struct Window {
    after: Option<String>,
    before: Option<String>,
    inclusive: bool,
}

impl Window {
    fn of(call: &Call<'_>) -> Result<Window, Refusal> {
        let rule = call.state.behaviour.date_window;
        if rule == DateWindow::Ignored {
            return Ok(Window::default());
        }
        let bound = |name: &str| -> Result<Option<String>, Refusal> {
            let text = call.text(name)?.filter(|text| is_date(text));
            Ok(text.map(str::to_owned))
        };
        Ok(Window {
            after: bound("sent_after")?,
            before: bound("sent_before")?,
            inclusive: rule == DateWindow::Inclusive,
        })
    }

    fn contains(&self, clock: &Clock, file: &File) -> bool {
        if self.after.is_none() && self.before.is_none() {
            return true;
        }
        let date = clock.local(file.date);
        let after = self
            .after
            .as_ref()
            .is_none_or(|after| date > *after || (self.inclusive && date == *after));
        let before = self
            .before
            .as_ref()
            .is_none_or(|before| date < *before || (self.inclusive && date == *before));
        after && before
    }
}
