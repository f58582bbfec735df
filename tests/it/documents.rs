//! What the documentation names must be there.

use std::path::Path;

fn sources(directory: &Path, text: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Every constant, flag and file that the page of limits names.
#[test]
fn limits_are_where_the_page_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = String::new();
    sources(&root.join("src"), &mut all);
    let page = std::fs::read_to_string(root.join("docs/limits.md")).unwrap();
    let (mut named, mut missing) = (0, Vec::new());
    for name in page.split('`').skip(1).step_by(2) {
        let is_constant = |c: char| c.is_ascii_uppercase() || c == '_';
        let exists = if let Some(flag) = name.strip_prefix("--") {
            let flag = flag.split(' ').next().unwrap().replace('-', "_");
            all.contains(&format!("pub {flag}: Option<"))
        } else if name.chars().all(is_constant) {
            all.contains(&format!("const {name}:"))
        } else if name.contains('/') {
            root.join("src").join(name).exists()
        } else {
            continue;
        };
        named += 1;
        if !exists {
            missing.push(name);
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(named > 90, "only {named} are named");
}

/// Every test named in the last column of a table; how many are named.
fn check_tests_of(page: &str) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = String::new();
    sources(&root.join("tests"), &mut all);
    sources(&root.join("src"), &mut all);
    let text = std::fs::read_to_string(root.join(page)).unwrap();
    let mut named = 0;
    let mut missing = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let Some(last) = line.trim_end_matches('|').rsplit(" | ").next() else {
            continue;
        };
        let rows = last.split('`').skip(1).step_by(2);
        for name in rows {
            named += 1;
            let exists = match name.contains('/') {
                true => root.join(name).exists(),
                // Some are made by a macro, of their names.
                false => all.contains(&format!("fn {name}(")) || all.contains(&format!(" {name} ")),
            };
            if !exists {
                missing.push(name);
            }
        }
        if !last.contains('`') && last.trim() != "test" {
            missing.push(line);
        }
    }
    assert!(missing.is_empty(), "{page}: {missing:#?}");
    named
}

#[test]
fn tests_that_documents_name_exist() {
    assert!(check_tests_of("docs/rclone-differences.md") > 60);
    assert!(check_tests_of("docs/guarantees.md") > 70);
}
