//! Handing a read to a caller that takes it at its own speed.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Read;

/// A caller that takes nothing for so long keeps no connection to 1Fichier…
const IDLE: Duration = Duration::from_secs(10);
/// …and for so long, if others wait for one.
const LOOK: Duration = Duration::from_secs(1);
/// A caller that takes nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Why no more can be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The caller went away.
    Left,
    /// It took nothing for an hour.
    TooSlow,
}

impl NotTaken {
    /// For people.
    pub fn message(self) -> String {
        match self {
            Self::Left => "the caller went away".to_owned(),
            Self::TooSlow => format!(
                "nothing was taken for {} minutes; read the rest by its range",
                PATIENCE.as_secs() / 60
            ),
        }
    }
}

/// Waits until the caller has taken what came before. One that takes its time
/// gives its connections to others meanwhile.
///
/// # Errors
/// When it takes nothing more.
pub async fn room<'a, T>(
    taken: &'a mpsc::Sender<T>,
    read: &mut Read,
) -> Result<mpsc::Permit<'a, T>, NotTaken> {
    let since = Instant::now();
    loop {
        if let Ok(room) = tokio::time::timeout(LOOK, taken.reserve()).await {
            return room.map_err(|_| NotTaken::Left);
        }
        let idle = since.elapsed();
        if idle >= IDLE || read.is_in_the_way() {
            read.park();
        }
        if idle >= PATIENCE {
            return Err(NotTaken::TooSlow);
        }
    }
}
