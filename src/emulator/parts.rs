//! The parts of an upload's body: fields and files [API §4.2].

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use super::body::Job;
use super::multipart::{Event, Parser};

/// The most files in one upload [API §4.2].
const MOST_FILES: usize = 500;
/// The longest value of a plain field, in bytes. A limit of the emulator.
const LONGEST_FIELD: usize = 64 * 1024;

/// The answer to bodies that are not understood.
pub(super) const NO_FILE: &str = "Pas de fichier trouvé dans l'envoi";

/// Why nothing is stored.
#[derive(Debug)]
pub(super) enum Failed {
    /// A page says why.
    Refused(String),
    /// The emulator itself is in trouble.
    Broken,
}

/// Sorts the parts of a body: fields are kept, contents go to who writes them.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) parser: Parser,
    pub(super) jobs: mpsc::Sender<Job>,
    pub(super) fields: BTreeMap<String, String>,
    pub(super) names: Vec<String>,
    field: Option<(String, Vec<u8>)>,
    events: Vec<Event>,
}

impl Reader {
    pub(super) fn new(boundary: &str, jobs: mpsc::Sender<Job>) -> Reader {
        Reader {
            parser: Parser::new(boundary),
            jobs,
            fields: BTreeMap::new(),
            names: Vec::new(),
            field: None,
            events: Vec::new(),
        }
    }

    pub(super) async fn read(&mut self, data: bytes::Bytes) -> Result<(), Failed> {
        let refused = || Failed::Refused(NO_FILE.to_owned());
        let mut events = std::mem::take(&mut self.events);
        self.parser.push(data, &mut events).map_err(|_| refused())?;
        for event in events.drain(..) {
            let job = match event {
                Event::Begin(part) => match part.filename {
                    Some(name) if part.name == "file[]" => {
                        if self.names.len() == MOST_FILES {
                            return Err(Failed::Refused("Trop de fichiers".to_owned()));
                        }
                        self.names.push(name);
                        Job::Begin
                    }
                    None if part.name != "file[]" => {
                        self.field = Some((part.name, Vec::new()));
                        continue;
                    }
                    _ => return Err(refused()),
                },
                Event::Data(data) => match &mut self.field {
                    Some((_, value)) if value.len() + data.len() <= LONGEST_FIELD => {
                        value.extend_from_slice(&data);
                        continue;
                    }
                    Some(_) => return Err(refused()),
                    None => Job::Data(data),
                },
                Event::End => match self.field.take() {
                    Some((name, value)) => {
                        let value = String::from_utf8_lossy(&value).into_owned();
                        self.fields.insert(name, value);
                        continue;
                    }
                    None => Job::End,
                },
            };
            // The writing ends early only when it cannot write; the result says so.
            self.jobs.send(job).await.map_err(|_| Failed::Broken)?;
        }
        self.events = events;
        Ok(())
    }
}
