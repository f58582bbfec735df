//! What the fuzz targets reach: how the emulator reads what is uploaded.

use bytes::Bytes;

use super::multipart::{Event, Parser, boundary};

/// A part of an upload: the names of its field and of its file, and its content.
pub type Part = (String, Option<String>, Vec<u8>);

/// The parts of an upload that comes in pieces of this size; `None` if it is refused.
pub fn read_upload(content_type: &str, body: &[u8], piece: usize) -> Option<Vec<Part>> {
    let mut parser = Parser::new(boundary(content_type)?);
    let mut events = Vec::new();
    for piece in body.chunks(piece) {
        parser
            .push(Bytes::copy_from_slice(piece), &mut events)
            .ok()?;
    }
    let mut parts = Vec::new();
    for event in events {
        match event {
            Event::Begin(part) => parts.push((part.name, part.filename, Vec::new())),
            Event::Data(data) => parts.last_mut()?.2.extend_from_slice(&data),
            Event::End => {}
        }
    }
    parser.is_complete().then_some(parts)
}
