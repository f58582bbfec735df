//! Which of several files with one name is the newest.
//!
//! 1Fichier's dates cannot tell alone: they have whole seconds and show one
//! hour of every October twice ([API §1, §C]). Files that this server stored
//! are counted, and of two of those the one that was stored later is newer.

use super::content::FileRecord;

/// Sorts files with one name, the newest first. The order is total and the
/// same for everybody: among files of one second that were not stored by this
/// server, the URL decides.
pub fn newest_first(files: &mut Vec<&FileRecord>) {
    if files.len() < 2 {
        return;
    }
    files.sort_by_key(|file| file.order);
    let mut latest = None;
    let mut dated: Vec<_> = files
        .drain(..)
        .map(|file| {
            let mut time = file.time;
            if file.order > 0 {
                // No older than what was stored before it.
                latest = latest.max(time);
                time = latest;
            }
            (time, file)
        })
        .collect();
    dated.sort_by(|(left_time, left), (right_time, right)| {
        (right_time, right.order, &right.url).cmp(&(left_time, left.order, &left.url))
    });
    files.extend(dated.into_iter().map(|(_, file)| file));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(url: &str, time: i64, order: u64) -> FileRecord {
        FileRecord {
            url: url.into(),
            name: "n".into(),
            size: 1,
            time: Some(time),
            whirlpool: None,
            content_type: "".into(),
            password: false,
            acl: false,
            cdn: false,
            order,
        }
    }

    fn sorted(files: &[FileRecord]) -> Vec<&str> {
        let mut sorted: Vec<_> = files.iter().collect();
        newest_first(&mut sorted);
        sorted.into_iter().map(|file| &*file.url).collect()
    }

    #[test]
    fn what_was_stored_later_is_newer_whatever_the_dates_say() {
        // Within one second; in the hour that comes twice; among those of others.
        assert_eq!(sorted(&[file("z", 5, 1), file("a", 5, 2)]), ["a", "z"]);
        assert_eq!(sorted(&[file("a", 9, 1), file("b", 5, 2)]), ["b", "a"]);
        assert_eq!(
            sorted(&[file("a", 9, 1), file("b", 5, 2), file("theirs", 7, 0)]),
            ["b", "a", "theirs"]
        );
        assert_eq!(
            sorted(&[file("ours", 5, 8), file("theirs", 7, 0)]),
            ["theirs", "ours"]
        );
        assert_eq!(sorted(&[file("a", 5, 0), file("b", 5, 0)]), ["b", "a"]);
    }

    proptest! {
        /// The same whatever the order in which files are listed.
        #[test]
        fn the_order_is_total(
            facts in proptest::collection::vec((0..4_i64, 0..4_u64), 1..8),
            seed in any::<u64>(),
        ) {
            let files: Vec<_> = facts
                .iter()
                .enumerate()
                // No two of ours have one number.
                .map(|(at, (time, order))| {
                    let number = if *order == 0 { 0 } else { at as u64 * 4 + order };
                    file(&format!("u{at}"), *time, number)
                })
                .collect();
            let expected = sorted(&files);
            let mut shuffled = files.clone();
            fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
            prop_assert_eq!(sorted(&shuffled), expected);
        }
    }
}
