//! Files that are removed, moved or copied leave in batches: one call does a
//! hundred of them ([API §H]), and single requests of many clients gather
//! while they wait for the call.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use futures::future::join_all;
use tokio::sync::oneshot;

use super::gather::{Fit, Gather};
use crate::fichier::{BATCH, Batch, Client, Error, Kind, Priority, Scope, Turn};

/// How often what is left of a batch is sent again.
const ROUNDS: usize = 5;
/// Files of a batch whose existence is asked for one by one at the most: such
/// questions in volume lead to a ban ([API §1.1]).
const QUESTIONS: usize = 5;

/// What is done with files; those of one kind share a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// They are removed.
    Remove,
    /// They move to this folder and keep their names.
    Move(i64),
    /// They are copied to this folder and keep their names.
    Copy(i64),
}

impl Change {
    fn endpoint(self) -> &'static str {
        match self {
            Self::Remove => "file/rm",
            Self::Move(_) => "file/mv",
            Self::Copy(_) => "file/cp",
        }
    }

    fn scope(self) -> Scope {
        Scope::new(match self {
            Self::Remove => Priority::Delete,
            Self::Move(_) | Self::Copy(_) => Priority::Upload,
        })
    }
}

/// The URL that the file has afterwards.
type Outcome = Result<String, Error>;

#[derive(Debug)]
struct Item {
    url: String,
    outcome: oneshot::Sender<Outcome>,
}

/// The batches of one account.
#[derive(Debug)]
pub struct Batches {
    client: Arc<Client>,
    waiting: Gather<Change, Item>,
}

impl Batches {
    /// Batches through this client.
    pub fn new(client: Arc<Client>) -> Arc<Self> {
        Arc::new(Self {
            client,
            waiting: Gather::default(),
        })
    }

    /// Does one thing to files; one result for each, in order: the URL that
    /// the file (or its copy) has now. NotFound tells that it was gone.
    pub async fn run(
        self: &Arc<Self>,
        scope: Scope,
        change: Change,
        urls: &[String],
    ) -> Vec<Outcome> {
        let mut waits = Vec::with_capacity(urls.len());
        for url in urls {
            let (outcome, receiver) = oneshot::channel();
            let (id, start) = self.waiting.push(
                change,
                Item {
                    url: url.clone(),
                    outcome,
                },
            );
            if start {
                tokio::spawn(Arc::clone(self).collect(change));
            }
            waits.push(self.wait(scope, change, id, receiver));
        }
        join_all(waits).await
    }

    async fn wait(
        &self,
        scope: Scope,
        change: Change,
        id: u64,
        mut receiver: oneshot::Receiver<Outcome>,
    ) -> Outcome {
        let stopped = || Error::new(change.endpoint(), Kind::NotSent, "the server is stopping");
        tokio::select! {
            biased;
            outcome = &mut receiver => return outcome.unwrap_or_else(|_| Err(stopped())),
            error = self.client.budget().locked_out(scope) => {
                if self.waiting.withdraw(&change, id) {
                    return Err(error);
                }
            }
        }
        receiver.await.unwrap_or_else(|_| Err(stopped()))
    }

    async fn collect(self: Arc<Self>, change: Change) {
        loop {
            // While this waits for the budget, the batch grows.
            let turn = self.client.turn(change.scope(), change.endpoint()).await;
            let batch = self.waiting.take(&change, |batch, item| {
                if item.outcome.is_closed() {
                    Fit::Drop
                } else if batch.len() < BATCH {
                    Fit::Take
                } else {
                    Fit::Stop
                }
            });
            match turn {
                _ if batch.is_empty() => {}
                Ok(turn) => {
                    tokio::spawn(Arc::clone(&self).settle(change, batch, turn));
                }
                Err(error) => {
                    for item in batch {
                        let _ = item.outcome.send(Err(error.clone()));
                    }
                }
            }
            if self.waiting.is_done(&change) {
                return;
            }
        }
    }

    async fn settle(self: Arc<Self>, change: Change, items: Vec<Item>, turn: Turn) {
        // One file may have been asked for several times.
        let mut waiting: HashMap<String, Vec<oneshot::Sender<Outcome>>> = HashMap::new();
        let mut urls = Vec::new();
        for Item { url, outcome } in items {
            let senders = waiting.entry(url.clone()).or_default();
            if senders.is_empty() {
                urls.push(url);
            }
            senders.push(outcome);
        }
        let tell = |waiting: &mut HashMap<_, Vec<oneshot::Sender<Outcome>>>,
                    url: &str,
                    outcome: Outcome| {
            for sender in waiting.remove(url).unwrap_or_default() {
                let _ = sender.send(outcome.clone());
            }
        };
        let mut turn = Some(turn);
        let mut parts = VecDeque::from([urls]);
        let mut rounds = 0;
        while let Some(part) = parts.pop_front() {
            rounds += 1;
            let turn = turn.take().unwrap_or_else(|| change.scope().into());
            let done = match self.call(change, turn, &part).await {
                Ok(Batch { done }) => done,
                // One bad file may have made 1Fichier refuse all ([API §J11]).
                Err(error) if is_refusal(error.kind()) && part.len() > 1 => {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.push_back(left.to_vec());
                    parts.push_back(right.to_vec());
                    continue;
                }
                Err(error) => {
                    for url in &part {
                        tell(&mut waiting, url, Err(error.clone()));
                    }
                    continue;
                }
            };
            let progress = !done.is_empty();
            for (url, now) in done {
                tell(&mut waiting, &url, Ok(now));
            }
            let left: Vec<_> = part
                .into_iter()
                .filter(|url| waiting.contains_key(url))
                .collect();
            if left.is_empty() {
                continue;
            }
            if progress && rounds < ROUNDS {
                parts.push_back(left);
                continue;
            }
            for (asked, url) in left.iter().enumerate() {
                let outcome = self.explain(change, url, asked).await;
                tell(&mut waiting, url, Err(outcome));
            }
        }
    }

    async fn call(&self, change: Change, turn: Turn, urls: &[String]) -> Result<Batch, Error> {
        match change {
            Change::Remove => self.client.remove_files(turn, urls).await,
            Change::Move(folder) => self.client.move_files(turn, urls, folder, None).await,
            Change::Copy(folder) => self.client.copy_files(turn, urls, folder, None).await,
        }
    }

    /// 1Fichier said OK and did not do it: most likely the file was gone.
    async fn explain(&self, change: Change, url: &str, asked: usize) -> Error {
        let endpoint = change.endpoint();
        let unconfirmed = Error::new(
            endpoint,
            Kind::Refused,
            "1Fichier did not do what it was asked for",
        );
        if asked >= QUESTIONS {
            return unconfirmed;
        }
        match self.client.file_exists(change.scope(), url).await {
            Ok(false) => Error::new(endpoint, Kind::NotFound, "the file was gone already"),
            Ok(true) => unconfirmed,
            Err(error) => error,
        }
    }
}

fn is_refusal(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::NotFound | Kind::Refused | Kind::Access | Kind::NoChange
    )
}
