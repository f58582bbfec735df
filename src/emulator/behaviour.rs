//! The switches: what the sources leave open is played one way by default and another on demand.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::seconds;

/// How the emulator plays the questions that the documentation leaves open [API J], and the
/// quirks that were observed [API K]. The default is the emulator's default named there, except
/// that random node failures and the index delay are off, so that a run is repeatable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// What `folder/mv` does with a destination beside `rename` [API J1].
    pub mv_rename: MvRename,
    /// What `folder/mkdir` does when the name exists [API J2].
    pub mkdir_existing: MkdirExisting,
    /// The order of the links in `end.pl` [API J3].
    pub link_order: LinkOrder,
    /// Whether `end.pl` wants another id than the upload had [API J4].
    pub xid_differs: bool,
    /// Whether `upload.cgi` answers 200 instead of 302 after success [API J5].
    pub upload_answer_200: bool,
    /// What `sent_before` and `sent_after` mean [API J7].
    pub date_window: DateWindow,
    /// What moves, renames and copies do to dates [API J8].
    pub dates_on_move: DatesOnMove,
    /// What listings of an unknown folder answer [API J9].
    pub unknown_folder: UnknownFolder,
    /// What happens to things put into an unknown folder through `/v1` [API J10].
    pub unknown_parent: UnknownParent,
    /// What a batch with some unusable links does [API J11].
    pub batch: Batch,
    /// What `file/rm` of links that are all unknown answers [API J12].
    pub rm_missing: RmMissing,
    /// Whether a file keeps its link when moved or renamed [API J13].
    pub url_stability: UrlStability,
    /// What `file/mv` into the file's own folder does [API J15].
    pub mv_same_folder: MvSameFolder,
    /// How empty `items` and `sub_folders` are written [API J16].
    pub empty_arrays: EmptyArrays,
    /// Every KO comes with status 200 [API J19].
    pub all_ko_200: bool,
    /// The name of the type in `file/info` [API J20].
    pub info_content_type: InfoContentType,
    /// Whether `file/info` has `status` on success [API J21].
    pub info_status: bool,
    /// How `file/info` tells where a file is [API §7].
    pub info_path: InfoPath,
    /// Every number of a `/v1` answer, or of the list of a shared folder, is a string [API J22].
    pub stringify_numbers: bool,
    /// How many polls of `end.pl` see the anti-virus page first [API J23].
    pub wait_pages: u32,
    /// The same for single file name extensions (lower case, no dot); the larger number counts.
    pub wait_pages_by_extension: BTreeMap<String, u32>,
    /// How many polls of `end.pl` then see `"links": []` [API J24].
    pub empty_links: u32,
    /// How many times the first link of `end.pl` is repeated [API §5].
    pub extra_links: u32,
    /// What a token URL answers that is expired or used up [API J26].
    pub token_refusal: TokenRefusal,
    /// How long after its issue a token can be used first [API §2].
    #[serde(with = "seconds")]
    pub token_start: Duration,
    /// How long after its issue a token that was used in time goes on working [API §2].
    #[serde(with = "seconds")]
    pub token_resume: Duration,
    /// Whether a token of `single: 1` is refused when used twice [API J26].
    pub single_enforced: bool,
    /// Whether a token URL redirects to another path first [API A.3].
    pub token_redirect: bool,
    /// The most files in one listing [API §1.1].
    pub listing_cap: usize,
    /// The most files in the listing of the whole account [API J36].
    pub account_listing_cap: usize,
    /// How long changes take to show in listings: each shows so long after it was made, whatever
    /// the delay is by then. `file/info` sees them at once [API K15].
    #[serde(with = "seconds")]
    pub index_delay: Duration,
    /// Which changes take that long [API I].
    pub listing_lag: ListingLag,
    /// How long calls by a new link, or by a new file's name, answer as for an unknown one
    /// (`file/*`, `download/get_token`). Links are new after uploads and copies, and after moves
    /// and renames where these change them. What `end.pl` and listings tell is not held back, so
    /// that listings may show links that are not known yet [API I].
    #[serde(with = "seconds")]
    pub url_delay: Duration,
    /// What an upload or a new folder with forbidden characters in its name does [API J30].
    pub forbidden_chars: ForbiddenChars,
    /// Whether names with `\u` escapes are refused [API J40].
    pub reject_unicode_escapes: bool,
    /// Whether `application/json; charset=utf-8` is refused [API J41].
    pub reject_charset: bool,
    /// How many of a hundred uploads the node fails to store [API K10].
    pub node_failure_percent: u8,
    /// Whether upload nodes refuse ids that `get_upload_server` did not give, or that were used
    /// [API §3].
    pub upload_id_check: bool,
    /// Whether `upload.cgi` with the header `JSON: 1` answers the links at once [API §4.4].
    pub json_on_upload: bool,
    /// Whether `folder/ls` leaves out the files although `files: 1` was asked [API §14].
    pub folder_ls_ignores_files: bool,
    /// Whether the client's address counts as a server's, so that tokens need CDN credits
    /// [API B].
    pub professional_equipment: bool,
    /// Whether such an address uses the account's CDN credits by itself; otherwise only where
    /// `cdn` asks for it [API §2].
    pub cdn_forced: bool,
    /// What renaming a file to the name it has does in `file/mv` [API §10].
    pub rename_same_name: RenameSameName,
    /// Whether the owner needs the password of a protected file, too [API F].
    pub own_password_needed: bool,
    /// What `file/mv` with `rename` to another folder does [API §10].
    pub mv_with_rename: MvWithRename,
    /// Whether moves, renames and copies tell the links of what they did; without them `urls` is
    /// empty.
    pub told_urls: bool,
    /// Whether `folder/share` answers a link to another host, as somebody in between might.
    pub foreign_share: bool,
    /// Whether the `Date` header of answers has the usual form.
    pub usual_date_header: bool,
}

impl Default for Behaviour {
    fn default() -> Behaviour {
        Behaviour {
            mv_rename: MvRename::default(),
            mkdir_existing: MkdirExisting::default(),
            link_order: LinkOrder::default(),
            xid_differs: false,
            upload_answer_200: false,
            date_window: DateWindow::default(),
            dates_on_move: DatesOnMove::default(),
            unknown_folder: UnknownFolder::default(),
            unknown_parent: UnknownParent::default(),
            batch: Batch::default(),
            rm_missing: RmMissing::default(),
            url_stability: UrlStability::default(),
            mv_same_folder: MvSameFolder::default(),
            empty_arrays: EmptyArrays::default(),
            all_ko_200: false,
            info_content_type: InfoContentType::default(),
            info_status: false,
            info_path: InfoPath::default(),
            stringify_numbers: false,
            wait_pages: 0,
            wait_pages_by_extension: BTreeMap::new(),
            empty_links: 0,
            extra_links: 0,
            token_refusal: TokenRefusal::default(),
            token_start: Duration::from_secs(5 * 60),
            token_resume: Duration::from_secs(30 * 60),
            single_enforced: true,
            token_redirect: false,
            listing_cap: 5_000,
            account_listing_cap: 5_000,
            index_delay: Duration::ZERO,
            listing_lag: ListingLag::default(),
            url_delay: Duration::ZERO,
            forbidden_chars: ForbiddenChars::default(),
            reject_unicode_escapes: false,
            reject_charset: true,
            node_failure_percent: 0,
            upload_id_check: true,
            json_on_upload: false,
            folder_ls_ignores_files: false,
            professional_equipment: false,
            cdn_forced: true,
            rename_same_name: RenameSameName::default(),
            own_password_needed: true,
            mv_with_rename: MvWithRename::default(),
            told_urls: true,
            foreign_share: false,
            usual_date_header: true,
        }
    }
}

/// Defines one switch: an enum whose first variant is the default.
macro_rules! switch {
    ($(#[$doc:meta])* $name:ident { $(#[$first_doc:meta])* $first:ident, $($(#[$variant_doc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $(#[$first_doc])*
            #[default]
            $first,
            $($(#[$variant_doc])* $variant,)+
        }
    };
}

switch! {
    /// `folder/mv` with `rename` [API §17].
    MvRename {
        /// Both are done; an absent destination is the root, as rclone's test-suite implies.
        HonoursDestination,
        /// The folder is renamed where it is, as the vendor's page says.
        IgnoresDestination,
    }
}
switch! {
    /// `folder/mkdir` of a name that exists [API §15].
    MkdirExisting {
        /// KO without a number.
        Refuse,
        /// OK with the existing folder.
        ReturnExisting,
        /// A second folder of that name.
        Duplicate,
    }
}
switch! {
    /// The order of links in `end.pl` [API §5].
    LinkOrder {
        /// As the parts were sent.
        Sent,
        /// Any.
        Shuffled,
    }
}
switch! {
    /// The edges of `sent_before` and `sent_after` [API §G].
    DateWindow {
        /// Files of exactly that second are left out.
        Exclusive,
        /// Files of exactly that second are included.
        Inclusive,
        /// The members have no effect.
        Ignored,
    }
}
switch! {
    /// Dates of moved, renamed and copied files [API J8].
    DatesOnMove {
        /// Moves and renames keep the date, copies get a new one.
        KeptByMove,
        /// Each of them sets a new date.
        AlwaysNew,
        /// Each of them keeps the date.
        AlwaysKept,
    }
}
switch! {
    /// Listings of a folder that does not exist [API J9].
    UnknownFolder {
        /// 404 with KO.
        NotFound,
        /// 200 with KO.
        Ko,
        /// 200 with OK and nothing in it.
        EmptyList,
    }
}
switch! {
    /// New folders, copies and moves into a folder that does not exist [API J10].
    UnknownParent {
        /// KO.
        Refuse,
        /// They end in the root.
        Root,
    }
}
switch! {
    /// Batches with unusable links [API J11].
    Batch {
        /// The usable ones are done and reported.
        Partial,
        /// Nothing is done, KO.
        AllOrNothing,
    }
}
switch! {
    /// Removal of files that do not exist [API J12].
    RmMissing {
        /// OK with `removed` 0.
        RemovedZero,
        /// 200 with KO.
        Ko,
        /// 404 with KO.
        NotFound,
        /// 200 with KO, in the words that `file/rename` was seen to use: a guess.
        KoNothingRemoved,
        /// 200 with KO, in words that nobody knows.
        KoOtherText,
    }
}
switch! {
    /// Links after a move or rename [API J13].
    UrlStability {
        /// The link stays.
        Stable,
        /// A new link is given, the old one is unknown from then on.
        Changes,
    }
}
switch! {
    /// `file/mv` into the folder the file is in [API J15].
    MvSameFolder {
        /// KO.
        Refuse,
        /// OK, nothing is changed, not even the name.
        Ignore,
    }
}
switch! {
    /// What listings see late [API I].
    ListingLag {
        /// Files that were added or removed. A new file shows late wherever it is by then.
        UploadsAndRemovals,
        /// Everything that listings tell: a listing tells the folder as it was. Files and folders
        /// that were moved are still in the old folder and not yet in the new one, those that were
        /// renamed have their old name, new folders do not show and removed ones do; numbers of
        /// files and sizes are those of what is shown.
        Everything,
    }
}
switch! {
    /// `path` in `file/info` [API §7].
    InfoPath {
        /// `A/B`, and the empty string for the root.
        Folders,
        /// `/A/B`, and `/` for the root.
        Slash,
        /// `A/B/file`, and `file` in the root.
        WithName,
        /// The member is left out.
        Absent,
    }
}
switch! {
    /// Empty `items` and `sub_folders` [API J16].
    EmptyArrays {
        /// Each form in turn.
        Rotate,
        /// The member is left out.
        Absent,
        /// `null`.
        Null,
        /// `[]`.
        Empty,
    }
}
switch! {
    /// The name of the type in `file/info` [API J20].
    InfoContentType {
        /// `content_type`.
        Underscore,
        /// `content-type`.
        Hyphen,
    }
}
switch! {
    /// A token URL that is expired or used up [API J26].
    TokenRefusal {
        /// 403 with an HTML page.
        Forbidden,
        /// 404 with an HTML page.
        NotFound,
        /// 410 with an HTML page.
        Gone,
        /// 302 to the page of the file.
        Redirect,
        /// 200 with an HTML page.
        Html,
    }
}
switch! {
    /// Forbidden characters in names [API J30].
    ForbiddenChars {
        /// Refused: `Bad filename characters`, or an HTML page from upload nodes.
        Refuse,
        /// Each is replaced by `_`, spaces at the ends are removed.
        Replace,
    }
}
switch! {
    /// `file/mv` with a `rename` that changes nothing [API §10].
    RenameSameName {
        /// KO.
        Refuse,
        /// The file is moved.
        Accept,
    }
}
switch! {
    /// `file/mv` to another folder with a new name [API §10].
    MvWithRename {
        /// Both are done.
        Both,
        /// KO.
        Refuse,
        /// The file is moved and keeps its name.
        KeepsName,
    }
}
