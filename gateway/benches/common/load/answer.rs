//! An HTTP/1.1 response with a Content-Length.

use std::str;

use httparse::{EMPTY_HEADER, Response, Status};

const HEADERS_MAX: usize = 32;

pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) location: Option<&'a str>,
    pub(super) body: &'a str,
}

impl<'a> Answer<'a> {
    /// `None` while a part is missing.
    pub(super) fn parse(received: &'a [u8]) -> Option<Self> {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut response = Response::new(&mut headers);
        let Status::Complete(head) = response.parse(received).expect("HTTP") else { return None };
        let value = |name: &str| {
            let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            header.map(|header| str::from_utf8(header.value).expect("ASCII"))
        };
        let length: usize = value("content-length").and_then(|length| length.parse().ok()).expect("a length");
        let body = received.get(head..head + length)?;
        Some(Self {
            status: response.code.expect("a status"),
            location: value("location"),
            body: str::from_utf8(body).expect("text"),
        })
    }
}
