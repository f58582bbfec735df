//! The page, and the table of metrics in the documentation.

use super::metrics::table;
use super::page::Page;

const BEGIN: &str = "<!-- metrics: written by a test -->\n";
const END: &str = "<!-- end of metrics -->\n";

#[test]
fn every_metric_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect(BEGIN);
    let (_, after) = rest.split_once(END).expect(END);
    let right = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, right).unwrap();
        return;
    }
    assert!(
        text == right,
        "docs/operations.md is not what the code says; run: UPDATE_DOCS=1 cargo test --lib admin"
    );
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let page = Page::new();
    let html = std::str::from_utf8(&page.html).unwrap();
    // The name of a vocabulary, which nobody loads.
    let html = &html.replace("http://www.w3.org/2000/svg", "");
    for foreign in [
        "http:",
        "https:",
        "src=",
        "@import",
        "url(",
        "{{",
        "innerHTML",
        "eval(",
    ] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    // The policy allows one style, one script, and no attribute with code.
    for (tag, count) in [
        ("<style>", 1),
        ("<script>", 1),
        (" style=", 0),
        (" onclick=", 0),
    ] {
        assert_eq!(html.matches(tag).count(), count, "{tag}");
    }
    for (tag, rule) in [("style", "style-src"), ("script", "script-src")] {
        let html = std::str::from_utf8(&page.html).unwrap();
        let (_, rest) = html.split_once(&format!("<{tag}>")).unwrap();
        let (text, _) = rest.split_once(&format!("</{tag}>")).unwrap();
        let hash = super::page::hash(text);
        assert!(
            page.policy.contains(&format!("{rule} 'sha256-{hash}'")),
            "{}",
            page.policy
        );
    }
    // Every part that the script fills is there.
    for part in html.split("byId(\"").skip(1) {
        let (id, _) = part.split_once('"').unwrap();
        assert!(html.contains(&format!("id=\"{id}\"")), "{id}");
    }
}
