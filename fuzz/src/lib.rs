//! What the fuzz targets share.

/// The first line and what follows it; without a line break all follows.
pub fn first_line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (&[], data),
    }
}

/// A line with the HTTP status, which is 200 without one, and the body.
pub fn status_and_body(data: &[u8]) -> (u16, &[u8]) {
    let (line, body) = first_line(data);
    let status = std::str::from_utf8(line)
        .ok()
        .and_then(|text| text.parse().ok());
    status.map_or((200, data), |status| (status, body))
}
