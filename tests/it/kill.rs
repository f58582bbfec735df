//! A server that dies from one moment to the next: what it had on disk at that
//! moment is all that the next one has, and what was left of it asks nothing of
//! 1Fichier any more.

use std::path::Path;

use pluton_fichier::emulator::Control;
use pluton_fichier::server::Server;

use crate::harness::*;

impl World {
    /// Kills the server, and starts it again.
    pub(crate) async fn kill(&mut self) {
        self.kill_into(|_| ()).await;
    }

    /// The same, and what the next one meets from its first call on.
    pub(crate) async fn kill_into(&mut self, faults: impl FnOnce(&Control)) {
        let image = tempfile::tempdir().unwrap();
        copy(self.config.state_dir.as_ref().unwrap(), image.path());
        drop(self.server.take());
        self.config.state_dir = Some(image.path().to_owned());
        self.images.push(image);
        self.control.clear_faults();
        faults(&self.control);
        let server = Server::start(self.config.clone()).await.unwrap();
        self.client = connect(&server).await;
        self.server = Some(server);
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
