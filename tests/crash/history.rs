//! What led to a problem, for whoever looks into it.

use std::path::Path;

use pluton_fichier::emulator::Control;
use tokio::time::Instant;

/// So many lines are enough.
const LINES: usize = 40;

/// The last requests that name a file, with the deaths of the server between
/// them, and what the server logged since it was started.
pub(crate) fn of(path: &str, control: &Control, kills: &[Instant], log: &Path) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let nodes = control.tree().into_iter().filter(|node| node.path == path);
    let nodes: Vec<_> = nodes.collect();
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let parent = control.folder_at(parent).map(|folder| folder.id);
    let now = Instant::now();
    let mut lines: Vec<(Instant, String)> = Vec::new();
    for request in control.last_requests() {
        let of_it = nodes.iter().any(|node| {
            !node.url.is_empty() && request.body.contains(&node.url)
                || request.body.contains(&format!("\"{name}\""))
                    && request.body.contains(&node.id.to_string())
        });
        let of_parent = request.endpoint.ends_with("/ls")
            && parent.is_some_and(|id| request.body.contains(&format!("\"folder_id\":{id}")));
        if of_it || of_parent {
            lines.push((
                request.at,
                format!("{} {:.300}", request.endpoint, request.body),
            ));
        }
    }
    lines.extend(
        kills
            .iter()
            .map(|at| (*at, "the server is killed".to_owned())),
    );
    lines.sort_by_key(|(at, _)| *at);
    let shown = lines.iter().rev().take(LINES).rev();
    let mut text: Vec<String> = shown
        .map(|(at, what)| format!("  {:8.3} s ago: {what}", (now - *at).as_secs_f64()))
        .collect();
    text.extend(nodes.iter().map(|node| format!("  now there: {node:?}")));
    let logged = std::fs::read_to_string(log).unwrap_or_default();
    let life = logged.rfind(": listening").unwrap_or(0);
    let life = logged[life..].lines().take(LINES);
    text.extend(life.map(|line| format!("  logged: {line}")));
    text.join("\n")
}
