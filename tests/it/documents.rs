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
    assert!(named > 150, "only {named} are named");
}

/// How people may write the value of a constant; nothing if it is no plain one.
fn written(value: &str) -> Vec<String> {
    let number = |digits: &str| digits.replace('_', "").parse::<u64>().ok();
    let grouped = |number: u64| {
        let digits = number.to_string();
        let mut text = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        text
    };
    if let Some(number) = number(value) {
        return vec![grouped(number)];
    }
    if let Some((count, shift)) = value.split_once(" << ") {
        let unit = match shift {
            "10" => "KiB",
            "20" => "MiB",
            _ => return Vec::new(),
        };
        let count = number(count).map(|count| format!("{} {unit}", grouped(count)));
        return count.into_iter().collect();
    }
    let seconds = value.strip_prefix("Duration::from_secs(");
    let Some(seconds) = seconds.and_then(|rest| number(rest.strip_suffix(')')?)) else {
        return Vec::new();
    };
    let mut ways = vec![format!("{seconds} s"), format!("{seconds}.")];
    for (unit, name) in [(60, "minute"), (3_600, "hour")] {
        if seconds % unit == 0 {
            ways.push(format!("{} {name}", seconds / unit));
            // After another one: "2 minutes; 15 where".
            ways.push(format!("; {} ", seconds / unit));
        }
    }
    ways
}

/// Every row of the page of limits with a constant tells the value of that.
#[test]
fn limits_are_what_the_page_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/limits.md")).unwrap();
    let (mut compared, mut wrong) = (0, Vec::new());
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let names: Vec<_> = row.split('`').skip(1).step_by(2).collect();
        for (at, name) in names.iter().enumerate() {
            if !name.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
                continue;
            }
            // The place stands behind the names.
            let place = names[at..]
                .iter()
                .find(|name| root.join("src").join(name).exists());
            let Some(place) = place.map(|place| root.join("src").join(place)) else {
                continue;
            };
            let mut text = String::new();
            match place.is_dir() {
                true => sources(&place, &mut text),
                false => text = std::fs::read_to_string(place).unwrap(),
            }
            let begin = format!("const {name}: ");
            let values = text.lines().filter_map(|line| {
                let (_, rest) = line.split_once(&begin)?;
                rest.split_once(" = ")?.1.strip_suffix(';')
            });
            let ways: Vec<_> = values.flat_map(written).collect();
            if ways.is_empty() {
                continue;
            }
            compared += 1;
            if !ways.iter().any(|way| row.contains(way)) {
                wrong.push(format!("{name} {ways:?}: {row}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(compared > 50, "only {compared} are compared");
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
