//! A server that dies from one moment to the next: what it had on disk at that
//! moment is all that the next one has, and what was left of it reaches
//! 1Fichier no more.

use std::path::Path;

use pluton_fichier::config::Upstream;
use pluton_fichier::fichier::Hosts;
use pluton_fichier::server::Server;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::harness::*;

/// The connection of a server with 1Fichier. It is cut when this is dropped.
pub(crate) struct Line {
    url: String,
    _task: AbortOnDropHandle<()>,
}

impl Line {
    async fn to(api_url: &str) -> Self {
        let (address, path) = {
            let rest = api_url.strip_prefix("http://").unwrap();
            let (address, path) = rest.split_once('/').unwrap();
            (address.to_owned(), path.to_owned())
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/{path}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            let mut calls = tokio::task::JoinSet::new();
            while let Ok((mut here, _)) = listener.accept().await {
                let address = address.clone();
                calls.spawn(async move {
                    if let Ok(mut there) = TcpStream::connect(address).await {
                        let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
                    }
                });
            }
        });
        Self {
            url,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

/// An account, and a server that can be killed.
pub async fn killable() -> World {
    let mut world = world().await;
    world.server.take().unwrap().stop().await;
    world.begin().await;
    world
}

impl World {
    async fn begin(&mut self) {
        let line = Line::to(&self.emulator.api_url()).await;
        self.config.upstream = Upstream::Api(Hosts::new(&line.url).unwrap());
        self.line = Some(line);
        let server = Server::start(self.config.clone()).await.unwrap();
        self.client = connect(&server).await;
        self.server = Some(server);
    }

    /// Kills the server, and starts it again.
    pub async fn kill(&mut self) {
        let image = tempfile::tempdir().unwrap();
        copy(self.config.state_dir.as_ref().unwrap(), image.path());
        self.line = None;
        drop(self.server.take());
        self.config.state_dir = Some(image.path().to_owned());
        self.images.push(image);
        self.control.clear_faults();
        self.begin().await;
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
