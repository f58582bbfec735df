//! What holders of tokens with less than all rights may do.

use pluton_fichier::access::{Mode, Secret, TokenFile};

use super::*;

/// Makes a token, and gives the header that shows it.
fn make(world: &World, name: &str, prefix: &str, mode: Mode) -> String {
    let secret = Secret::generate().unwrap();
    TokenFile::within(world.config.state_dir.as_ref().unwrap())
        .add(name, &prefix.parse().unwrap(), mode, &secret.digest())
        .unwrap();
    format!("Bearer {}", secret.reveal())
}

async fn with_files() -> World {
    let world = served().await;
    for directory in ["mine", "theirs"] {
        ask(&world, "MKCOL", directory).gives(201).await;
        put(&world, &format!("{directory}/f"), b"1").await;
    }
    world
}

async fn known() {
    tokio::time::sleep(std::time::Duration::from_secs(12)).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_for_reading_changes_nothing() {
    let world = with_files().await;
    let token = make(&world, "reader", "", Mode::ReadOnly);
    known().await;
    let before = world.stored_all();
    let ask = |method, path| ask(&world, method, path).with("Authorization", &token);
    ask("GET", "mine/f").gives(200).await;
    ask("PROPFIND", "").with("Depth", "1").gives(207).await;
    ask("PUT", "new").body("1").gives(403).await;
    ask("PUT", "mine/f").body("2").gives(403).await;
    ask("MKCOL", "new").gives(403).await;
    ask("DELETE", "mine/f").gives(403).await;
    ask("DELETE", "mine/").gives(403).await;
    ask("MOVE", "mine/f").to("g").gives(403).await;
    ask("COPY", "mine/f").to("g").gives(403).await;
    ask("PROPPATCH", "mine/f").body("<x/>").gives(403).await;
    assert_eq!(world.stored_all(), before);
}

#[tokio::test(start_paused = true)]
async fn a_token_for_adding_replaces_nothing() {
    let world = with_files().await;
    let token = make(&world, "adder", "", Mode::AppendOnly);
    known().await;
    let ask = |method, path| ask(&world, method, path).with("Authorization", &token);
    ask("PUT", "new").body("1").gives(201).await;
    ask("MKCOL", "made").gives(201).await;
    ask("COPY", "mine/f").to("made/f").gives(201).await;
    let before = world.stored_all();
    ask("PUT", "mine/f").body("2").gives(403).await;
    ask("COPY", "new").to("mine/f").gives(403).await;
    ask("COPY", "new")
        .to("mine/f")
        .with("Overwrite", "F")
        .gives(412)
        .await;
    ask("DELETE", "new").gives(403).await;
    ask("DELETE", "made/").gives(403).await;
    ask("MOVE", "new").to("newer").gives(403).await;
    ask("PROPPATCH", "new").body("<x/>").gives(403).await;
    assert_eq!(world.stored_all(), before);
    assert_eq!(ask("GET", "mine/f").gives(200).await.body, b"1");
}

#[tokio::test(start_paused = true)]
async fn a_token_reaches_its_directory_alone() {
    let world = with_files().await;
    let token = make(&world, "mine", "fichier:mine", Mode::Full);
    known().await;
    let before = world.stored_all();
    let ask = |method, path| ask(&world, method, path).with("Authorization", &token);
    for depth in ["0", "1"] {
        ask("PROPFIND", "").with("Depth", depth).gives(403).await;
        ask("PROPFIND", "theirs")
            .with("Depth", depth)
            .gives(403)
            .await;
    }
    ask("GET", "theirs/f").gives(403).await;
    ask("GET", "none").gives(403).await;
    ask("PUT", "new").body("1").gives(403).await;
    ask("PUT", "theirs/f").body("1").gives(403).await;
    ask("MKCOL", "theirs/new").gives(403).await;
    ask("DELETE", "theirs/").gives(403).await;
    ask("MOVE", "mine/f").to("theirs/g").gives(403).await;
    ask("MOVE", "theirs/f").to("mine/g").gives(403).await;
    ask("COPY", "theirs/f").to("mine/g").gives(403).await;
    assert_eq!(world.stored_all(), before);
    let answer = ask("PROPFIND", "mine").with("Depth", "1").gives(207).await;
    assert_eq!(
        answer.all("D:href"),
        ["/dav/fichier/mine/", "/dav/fichier/mine/f"]
    );
    ask("PUT", "mine/new").body("1").gives(201).await;
    ask("MOVE", "mine/new").to("mine/newer").gives(201).await;
    // A remote that does not exist is refused as one that is not reached.
    let url = format!("http://{}/dav/none/", address(&world));
    let request = reqwest::Client::new()
        .get(url)
        .header("Authorization", &token);
    assert_eq!(request.send().await.unwrap().status(), 403);
}
