//! Directories that were to have another path.

use super::{Seen, scope};
use crate::backend::carry::{Carried, Carrier, Load, Place, name_in_between, stages};
use crate::backend::journal::Carry;
use crate::backend::locks::Key;
use crate::backend::{Remote, replay};
use crate::catalog::FolderRecord;

impl Remote {
    /// Brings a directory that is half-way to where it should be, or back.
    pub(super) async fn look_for_folder(&self, id: u64, carry: &Carry) -> Seen {
        let account = &self.account;
        let _tree = account.locks.hold(Key::Tree).await;
        // A later call may have moved it on while this waited.
        if account.recovery.get(id).is_none() {
            return Seen::End;
        }
        let load = |from: &Place, to: &Place, stages: Vec<Place>| Load {
            folder: FolderRecord {
                name: from.name.clone(),
                ..carry.folder.clone()
            },
            from: from.clone(),
            to: to.clone(),
            stages,
            source: carry.source.clone(),
            destination: carry.destination.clone(),
        };
        let asked = load(&carry.from, &carry.to, Vec::new());
        let parents = [carry.to.parent, carry.from.parent];
        let here = match Carrier::new(self, &asked, None).look(parents).await {
            Ok(Some(here)) => here,
            // Another program removed it, or put it elsewhere; or it shows late.
            Ok(None) => return Seen::NotYet,
            Err(_) => return Seen::Unknown,
        };
        account.catalog.doubt(carry.from.parent);
        account.catalog.doubt(carry.to.parent);
        if here == carry.from {
            return Seen::NotYet;
        }
        if here == carry.to {
            self.carried(carry, &here);
            return Seen::End;
        }
        if !carry.passes(&here) {
            return Seen::End;
        }
        for goal in [&carry.to, &carry.from] {
            let is_free = |place: &Place| {
                account.catalog.lacks(place.parent, self.codec, &place.name) == Some(true)
            };
            for parent in parents {
                // Known anew, to see which names are free.
                let _ = self.snapshot(scope(), parent, None).await;
            }
            if !is_free(goal) {
                continue;
            }
            let third = name_in_between();
            let way = stages(&here, goal, is_free, &third);
            let load = load(&here, goal, way);
            if let Ok(Carried::Arrived(..)) = Carrier::new(self, &load, None).run().await {
                tracing::info!(destination = %carry.destination, "a directory that was half-way is in its place now");
                if goal == &carry.to {
                    self.carried(carry, goal);
                }
                return Seen::End;
            }
        }
        tracing::error!(source = %carry.source, destination = %carry.destination, "a directory is half-way, and other entries are in its way");
        Seen::Unknown
    }

    fn carried(&self, carry: &Carry, place: &Place) {
        let folder = FolderRecord {
            name: place.name.clone(),
            ..carry.folder.clone()
        };
        if let Some((id, arguments)) = &carry.request {
            let what = replay::Stored::Folder(folder);
            let account = &self.account;
            account.remember(id.clone(), arguments.clone(), &carry.destination, what);
        }
    }
}
