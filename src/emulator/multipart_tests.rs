use proptest::prelude::*;

use super::*;

/// Everything the parser says about a body given in pieces, data joined.
fn parse(boundary: &str, pieces: &[&[u8]]) -> Result<Vec<(Part, Vec<u8>)>, Malformed> {
    let mut parser = Parser::new(boundary);
    let mut events = Vec::new();
    for piece in pieces {
        parser.push(Bytes::copy_from_slice(piece), &mut events)?;
    }
    let mut parts = Vec::new();
    for event in events {
        match event {
            Event::Begin(part) => parts.push((part, Vec::new())),
            Event::Data(data) => parts.last_mut().unwrap().1.extend_from_slice(&data),
            Event::End => {}
        }
    }
    parser.is_complete().then_some(parts).ok_or(Malformed)
}

fn body(boundary: &str, contents: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for content in contents {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file[]\"; filename=\"a b.é\"\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body
}

/// Contents rich in what a delimiter is made of, but without the delimiter.
fn contents() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(vec![
        "\r", "\n", "\r\n", "-", "--", "\r\n--", "\r\n--A", "B", "x",
    ]);
    prop::collection::vec(token, 0..40)
        .prop_map(|tokens| tokens.concat().into_bytes())
        .prop_filter("holds the delimiter", |content| {
            let with_end = [content.as_slice(), b"\r\n--AB"].concat();
            memchr::memmem::find(&with_end, b"\r\n--AB") == Some(content.len())
        })
}

proptest! {
    #[test]
    fn pieces_may_be_cut_anywhere(
        contents in prop::collection::vec(contents(), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let body = body("AB", &contents);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
        let parts = parse("AB", &pieces).unwrap();
        let found: Vec<Vec<u8>> = parts.into_iter().map(|(_, content)| content).collect();
        prop_assert_eq!(found, contents);
    }

    #[test]
    fn no_body_makes_it_panic(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..5)) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let _ = parse("AB", &pieces);
    }
}

#[test]
fn every_single_cut() {
    let contents = [b"one\r\n--Atwo\r\n".to_vec(), b"\r\n-".to_vec()];
    let body = body("AB", &contents);
    for cut in 0..body.len() {
        let parts = parse("AB", &[&body[..cut], &body[cut..]]).unwrap();
        assert_eq!(parts[0].1, contents[0]);
        assert_eq!(parts[1].1, contents[1]);
        assert_eq!(parts[0].0.filename.as_deref(), Some("a b.é"));
    }
    for end in 0..body.len() - 2 {
        assert_eq!(parse("AB", &[&body[..end]]), Err(Malformed), "{end}");
    }
}

#[test]
fn the_dialect() {
    let part = |headers: &str| {
        let body = format!("--AB\r\n{headers}\r\n\r\nx\r\n--AB--\r\n");
        parse("AB", &[body.as_bytes()])
    };
    assert!(part("Content-Disposition: form-data; name=\"did\"").is_ok());
    assert!(
        part(
            "content-disposition: form-data; name=\"file[]\"; filename=\"a\"\r\nContent-Type: a/b"
        )
        .is_ok()
    );
    for bad in [
        "Content-Type: a/b\r\nContent-Disposition: form-data; name=\"file[]\"; filename=\"a\"",
        "Content-Disposition: form-data; name=did",
        "Content-Disposition: form-data; name=\"file[]\"; filename=a",
        "Content-Disposition: form-data; name=\"file[]\"; filename*=UTF-8''a",
        "Content-Disposition: form-data; name=\"did\"\r\nContent-Type: text/plain",
        "Content-Disposition: attachment",
        "nothing",
    ] {
        assert_eq!(part(bad), Err(Malformed), "{bad}");
    }
}

#[test]
fn boundaries_are_not_quoted() {
    assert_eq!(boundary("multipart/form-data; boundary=AB"), Some("AB"));
    assert_eq!(boundary("multipart/form-data; boundary=\"AB\""), None);
    assert_eq!(boundary("multipart/mixed; boundary=AB"), None);
    assert_eq!(boundary("multipart/form-data"), None);
}
