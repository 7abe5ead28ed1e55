//! A record as a Kafka message: CloudEvents in binary content mode (Kafka protocol binding 1.0), whose attributes are
//! message headers.

use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message, OwnedHeaders};

use crate::log::{Headers, Record, Stored};

const REQUEST_ID: &str = "ce_id";
const TRACEPARENT: &str = "traceparent";
const GENERATION: &str = "sluice_generation";

/// The same for every record.
const FIXED: [(&str, &str); 4] = [
    ("ce_specversion", "1.0"),
    ("ce_type", "sluice.coupon.requested"),
    ("ce_source", "/coupon/issue"),
    ("content-type", "application/json"),
];

pub(super) fn headers(headers: &Headers) -> OwnedHeaders {
    let generation = headers.decided_by.to_string();
    let request_id = headers.request_id.map(|id| id.to_string());
    let own = [
        (REQUEST_ID, request_id.as_deref()),
        (TRACEPARENT, headers.traceparent.as_deref()),
        (GENERATION, Some(generation.as_str())),
    ];
    let own = own.into_iter().filter_map(|(key, value)| Some((key, value?)));
    let all = OwnedHeaders::new_with_capacity(FIXED.len() + 3);
    FIXED.into_iter().chain(own).fold(all, |all, (key, value)| all.insert(Header { key, value: Some(value) }))
}

/// Never fails: missing parts are empty, and settlement rejects a record that it cannot parse.
pub(super) fn stored(message: &BorrowedMessage<'_>) -> Stored {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut headers = Headers::default();
    for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
        let Some(value) = header.value.and_then(|value| std::str::from_utf8(value).ok()) else { continue };
        match header.key {
            REQUEST_ID => headers.request_id = value.parse().ok(),
            TRACEPARENT => headers.traceparent = Some(value.to_owned()),
            GENERATION => headers.decided_by = value.parse().unwrap_or_default(),
            _ => {}
        }
    }
    let record = Record {
        key: message.key().map(text).unwrap_or_default(),
        headers,
        value: message.payload().unwrap_or_default().to_vec(),
    };
    Stored { offset: message.offset().unsigned_abs(), record }
}
