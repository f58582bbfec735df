//! Folders that share a path, and files and folders that share one.

use pluton_fichier::proto::*;

use crate::checks::*;
use crate::harness::*;

/// A directory of two folders, in which another one has two folders, too.
struct Twins {
    world: World,
    first: u64,
    second: u64,
}

async fn twins() -> Twins {
    let world = world().await;
    let control = &world.control;
    let first = control.add_folder(0, "d");
    let second = control.add_folder(0, "d");
    for (folder, name) in [(first, "a"), (second, "b"), (first, "z"), (second, "c")] {
        control.add_file(folder, name, name.as_bytes());
    }
    // Two stored names of one segment, in different folders.
    let here = control.add_folder(first, "s$");
    let there = control.add_folder(second, "s＄");
    control.add_file(here, "1", b"1");
    control.add_file(there, "2", b"2");
    control.add_folder(second, "only");
    Twins {
        world,
        first,
        second,
    }
}

const ALL: [&str; 9] = [
    "d/", "d/a", "d/b", "d/c", "d/only/", "d/s$/", "d/z", "d/s$/1", "d/s$/2",
];

#[tokio::test(start_paused = true)]
async fn a_path_is_the_union_of_its_folders() {
    let Twins { world, first, .. } = twins().await;
    assert_eq!(world.names("", true).await, ALL);
    assert_eq!(world.names("d", false).await, ALL[1..7]);
    let calls = world.control.calls();
    assert_eq!(calls.get("folder/ls"), 6, "each folder once: {calls}");
    assert_eq!(calls.floods(), 0);
    for directory in ["d", "d/s$"] {
        let entry = world.stat(directory).await.unwrap();
        assert_eq!(entry.attributes["duplicates"], "2", "{directory}");
    }
    let entry = world.stat("d").await.unwrap();
    assert_eq!(entry.id, first.to_string(), "the smallest id");
    let listed = world.list("", false).await.unwrap();
    assert_eq!(listed, [entry]);
    assert!(world.stat("d/only").await.unwrap().attributes.is_empty());
    for name in ["a", "b", "c", "z"] {
        let path = format!("d/{name}");
        assert_eq!(world.get(&path).await.unwrap().content, name.as_bytes());
        assert_eq!(world.hash(&path).await.unwrap(), whirlpool(name.as_bytes()));
    }
    assert_reason(world.stat("d/none").await, "FILE_NOT_FOUND");
    assert_reason(world.get("d/only").await, "IS_A_DIRECTORY");
}

#[tokio::test(start_paused = true)]
async fn a_listing_is_taken_up_again_behind_every_entry_of_any_twin() {
    let Twins { world, .. } = twins().await;
    for types in [vec![], vec![EntryType::File.into()]] {
        let request = ListRequest {
            recursive: true,
            types,
            ..ListRequest::default()
        };
        let whole = list(&world.client, request.clone()).await.unwrap();
        let whole: Vec<_> = whole.into_iter().flat_map(|page| page.entries).collect();
        for page_size in 1..=ALL.len() as i32 {
            let paged = ListRequest {
                page_size,
                ..request.clone()
            };
            let mut seen = 0;
            for page in list(&world.client, paged.clone()).await.unwrap() {
                seen += page.entries.len();
                if page.next_page_token.is_empty() {
                    continue;
                }
                let again = ListRequest {
                    page_token: page.next_page_token,
                    ..request.clone()
                };
                let rest = list(&world.client, again).await.unwrap();
                let rest: Vec<_> = rest.into_iter().flat_map(|page| page.entries).collect();
                assert_eq!(rest, whole[seen..], "{page_size}, behind {seen}");
            }
            assert_eq!(seen, whole.len());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_token_outlives_the_folder_and_the_file_that_it_was_made_of() {
    let world = world().await;
    let first = world.control.add_folder(0, "d");
    world.control.add_folder(0, "d");
    for name in ["a", "d", "e"] {
        world.control.add_file(0, name, b"x");
    }
    let request = ListRequest {
        page_size: 2,
        ..ListRequest::default()
    };
    let pages = list(&world.client, request.clone()).await.unwrap();
    let names = |pages: &[ListResponse]| -> Vec<_> {
        let entries = pages.iter().flat_map(|page| &page.entries);
        entries
            .map(|entry| (entry.path.clone(), entry.r#type()))
            .collect()
    };
    use EntryType::{Directory, File};
    let seen = names(&pages);
    let expected = [("a", File), ("d", Directory), ("d", File), ("e", File)];
    assert_eq!(seen, expected.map(|(path, kind)| (path.to_owned(), kind)));
    world.control.remove_folder(first);
    world.control.add_file(0, "d", b"newer");
    seconds(31).await;
    assert_eq!(world.listed_within("", 0).await.0, ["a", "d", "d", "e"]);
    let rest = ListRequest {
        page_token: pages[0].next_page_token.clone(),
        ..request
    };
    let rest = list(&world.client, rest).await.unwrap();
    assert_eq!(names(&rest), seen[2..]);
}

#[tokio::test(start_paused = true)]
async fn new_entries_go_to_the_folder_with_the_smallest_id() {
    let Twins {
        world,
        first,
        second,
    } = twins().await;
    let at = |world: &World, path: &str| -> Vec<u64> {
        let nodes = world.control.tree().into_iter();
        nodes
            .filter(|node| node.path == path && !node.url.is_empty())
            .map(|node| node.id)
            .collect()
    };
    world.put("d/new", b"new").await.unwrap();
    assert_eq!(at(&world, "d/new"), [first]);
    world
        .put("d/large", &content((16 << 20) + 1))
        .await
        .unwrap();
    assert_eq!(at(&world, "d/large"), [first]);
    // What is replaced may be in the other one.
    assert_eq!(at(&world, "d/b"), [second]);
    let entry = world.put("d/b", b"newer").await.unwrap();
    assert_eq!(at(&world, "d/b"), [first]);
    assert_eq!(world.stat("d/b").await.unwrap(), entry);
    // A directory that exists in only one of them is that one.
    world.put("d/only/x", b"x").await.unwrap();
    assert_eq!(at(&world, "d/only/x"), [second + 3]);
    let made = world.mkdir("d/fresh").await.unwrap();
    assert!(made.created);
    assert!(!world.mkdir("d/s$").await.unwrap().created);
    assert_eq!(
        world
            .stored_all()
            .iter()
            .filter(|path| *path == "d")
            .count(),
        2
    );
    assert_eq!(world.control.calls().floods(), 0);
}

#[tokio::test(start_paused = true)]
async fn copies_of_a_file_in_twins_are_duplicates_and_the_newest_counts() {
    let Twins {
        world,
        first,
        second,
    } = twins().await;
    let older = world.control.add_file(second, "f", b"older");
    let newer = world.control.add_file(first, "f", b"newer");
    world.control.set_file_date(&older, 1_700_000_000);
    world.control.set_file_date(&newer, 1_700_000_001);
    let entry = world.stat("d/f").await.unwrap();
    assert_eq!(
        (entry.id.as_str(), &*entry.attributes["duplicates"]),
        (&*newer, "2")
    );
    let listed = world.list("d", false).await.unwrap();
    assert!(listed.contains(&entry));
    assert_eq!(world.get("d/f").await.unwrap().content, b"newer");
    // A deletion takes the newest, and the other is not lost with it.
    assert_eq!(world.delete(&["d/f"]).await, [""]);
    assert_eq!(world.get("d/f").await.unwrap().content, b"older");
    world.put("d/f", b"newest").await.unwrap();
    assert_eq!(world.urls("d/f").len(), 1, "replaced in both");
    let moved = MoveRequest {
        source_path: "d/b".to_owned(),
        destination_path: "d/f".to_owned(),
        ..MoveRequest::default()
    };
    world.client.clone().r#move(moved).await.unwrap();
    assert_eq!(world.urls("d/f").len(), 1);
    assert_eq!(world.get("d/f").await.unwrap().content, b"b");
    assert_reason(world.stat("d/b").await, "FILE_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn empty_twins_are_removed_together_or_not_at_all() {
    let world = world().await;
    let twins = |name: &str| {
        let ids = [0; 3].map(|_| world.control.add_folder(0, name));
        (ids[0], ids[1], ids[2])
    };
    twins("empty");
    let (_, second, _) = twins("full");
    world.control.add_file(second, "x", b"x");
    let (_, _, third) = twins("deep");
    world.control.add_folder(third, "x");
    world.names("", false).await;
    world.control.reset_calls();
    world.rmdir("empty").await.unwrap();
    let calls = world.control.calls();
    assert_eq!(calls.get("folder/rm"), 3);
    assert_eq!(calls.get("folder/ls"), 3, "whether each is empty");
    for full in ["full", "deep"] {
        assert_reason(world.rmdir(full).await, "DIRECTORY_NOT_EMPTY");
    }
    assert_eq!(world.control.calls().get("folder/rm"), 3, "none was tried");
    let left = [
        "deep", "deep", "deep", "deep/x", "full", "full", "full", "full/x",
    ];
    assert_eq!(world.stored_all(), left);
    assert_reason(world.stat("empty").await, "FILE_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn a_twin_that_cannot_be_read_does_not_hide_the_other() {
    let Twins { world, .. } = twins().await;
    world.names("", false).await;
    world.fail(
        "folder/ls",
        1,
        pluton_fichier::emulator::FaultKind::Ko {
            http: 403,
            message: "Resource not allowed #631".to_owned(),
        },
    );
    let request = ListRequest {
        recursive: true,
        ..ListRequest::default()
    };
    let pages = list(&world.client, request).await.unwrap();
    let failures: Vec<_> = pages.iter().flat_map(|page| &page.failures).collect();
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].path, "d");
    let paths: Vec<_> = pages
        .iter()
        .flat_map(|page| &page.entries)
        .map(|entry| entry.path.as_str())
        .collect();
    assert_eq!(paths, ["d", "d/b", "d/c", "d/only", "d/s$", "d/s$/2"]);
}

#[tokio::test(start_paused = true)]
async fn a_twin_that_is_gone_takes_only_its_own_files_with_it() {
    let Twins { world, first, .. } = twins().await;
    assert_eq!(world.names("", true).await, ALL);
    world.control.remove_folder(first);
    // The listing of the root is younger than that of the folder.
    seconds(200).await;
    world.listed_within("d", 60).await;
    seconds(150).await;
    assert_eq!(world.get("d/c").await.unwrap().content, b"c");
    assert_reason(world.get("d/a").await, "FILE_NOT_FOUND");
    seconds(31).await;
    let left = ["d/", "d/b", "d/c", "d/only/", "d/s$/", "d/s$/2"];
    assert_eq!(world.names("", true).await, left);
}

#[tokio::test(start_paused = true)]
async fn refreshing_a_directory_refreshes_all_its_folders() {
    let Twins {
        world,
        first,
        second,
    } = twins().await;
    assert_eq!(world.names("", true).await, ALL);
    seconds(31).await;
    world.control.add_file(first, "x1", b"x");
    world.control.add_file(second, "x2", b"x");
    let request = RefreshRequest {
        path: "d".to_owned(),
        reload: true,
        ..RefreshRequest::default()
    };
    let refreshed = world.client.clone().refresh(request).await.unwrap();
    assert_eq!(refreshed.into_inner().loaded_directories, 2);
    assert!(world.names("d", false).await.contains(&"d/x1".to_owned()));
    assert!(world.names("d", false).await.contains(&"d/x2".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_file_and_a_directory_of_one_path_do_not_disturb_each_other() {
    let mut world = world().await;
    let folder = world.control.add_folder(0, "x");
    world.control.add_file(folder, "inside", b"inside");
    world.control.add_file(0, "x", b"file");
    world.control.add_file(0, "y", b"y");
    assert_eq!(world.names("", true).await, ["x/", "x", "y", "x/inside"]);
    let file = world.stat("x").await.unwrap();
    assert_eq!(file.r#type(), EntryType::File);
    assert_eq!(file.attributes["directory"], "1");
    assert!(world.list("", false).await.unwrap().contains(&file));
    assert!(
        !world
            .stat("y")
            .await
            .unwrap()
            .attributes
            .contains_key("directory")
    );
    assert_eq!(world.get("x").await.unwrap().content, b"file");
    assert_eq!(world.names("x", false).await, ["x/inside"]);
    world.restart().await;

    // File operations mean the file, directory operations the directory.
    world.put("x", b"new").await.unwrap();
    assert_eq!(world.get("x").await.unwrap().content, b"new");
    assert!(!world.mkdir("x").await.unwrap().created);
    assert_reason(world.rmdir("x").await, "DIRECTORY_NOT_EMPTY");
    assert_eq!(world.delete(&["x"]).await, [""]);
    assert_eq!(world.names("", true).await, ["x/", "y", "x/inside"]);
    assert_reason(world.get("x").await, "IS_A_DIRECTORY");
    assert_reason(world.put("x", b"again").await, "IS_A_DIRECTORY");
    world.control.add_file(0, "x", b"file");
    assert_eq!(world.delete(&["x/inside"]).await, [""]);
    seconds(31).await;
    world.listed_within("", 0).await;
    world.rmdir("x").await.unwrap();
    assert_eq!(world.stored_all(), ["x", "y"]);
    assert_eq!(world.get("x").await.unwrap().content, b"file");
    world.assert_agreement("at the end").await;
}
