//! The binary form of a batch: its records, one after the other.
//!
//! ```text
//! u32 length of the rest │ u8 has a request id │ [u8; 16] request id │ u64 generation
//! u16 length │ key │ u16 length │ traceparent (empty: none) │ value
//! ```
//!
//! Integers are little-endian.

use crate::coupon::{Offset, RequestId};
use crate::log::{Headers, Record, Stored};

/// A batch ends in the middle of a record, or holds text that is not UTF-8.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a batch is corrupt: restore the file of log.url from a backup")]
pub(super) struct Corrupt;

pub(super) fn encode(record: &Record, payload: &mut Vec<u8>) {
    let start = payload.len();
    payload.extend_from_slice(&[0; 4]);
    payload.push(u8::from(record.headers.request_id.is_some()));
    payload.extend_from_slice(record.headers.request_id.as_ref().map_or(&[0; 16][..], |id| id.as_bytes()));
    payload.extend_from_slice(&record.headers.generation.to_le_bytes());
    for text in [&record.key, record.headers.traceparent.as_deref().unwrap_or_default()] {
        // Keys and trace contexts are short. A longer one is cut: an error would fail the whole batch.
        let text = &text.as_bytes()[..text.len().min(u16::MAX.into())];
        payload.extend_from_slice(&(text.len() as u16).to_le_bytes());
        payload.extend_from_slice(text);
    }
    payload.extend_from_slice(&record.value);
    let length = u32::try_from(payload.len() - start - 4).expect("bodies are bounded far below 4 GiB");
    payload[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Appends the records from offset `from` on to `records`, until it holds `records_max`.
pub(super) fn decode(
    base: Offset,
    mut payload: &[u8],
    from: Offset,
    records_max: usize,
    records: &mut Vec<Stored>,
) -> Result<(), Corrupt> {
    let mut offset = base;
    while !payload.is_empty() && records.len() < records_max {
        let length = u32::from_le_bytes(take(&mut payload)?);
        let frame = slice(&mut payload, length as usize)?;
        if offset >= from {
            records.push(Stored { offset, record: record(frame)? });
        }
        offset += 1;
    }
    Ok(())
}

fn record(mut frame: &[u8]) -> Result<Record, Corrupt> {
    let [has_request_id] = take(&mut frame)?;
    let request_id = RequestId::from(take::<16>(&mut frame)?);
    let generation = u64::from_le_bytes(take(&mut frame)?);
    let key = text(&mut frame)?;
    let traceparent = text(&mut frame)?;
    Ok(Record {
        key,
        headers: Headers {
            request_id: (has_request_id == 1).then_some(request_id),
            traceparent: Some(traceparent).filter(|text| !text.is_empty()),
            generation,
        },
        value: frame.to_vec(),
    })
}

fn text(frame: &mut &[u8]) -> Result<String, Corrupt> {
    let length = u16::from_le_bytes(take(frame)?);
    let bytes = slice(frame, length.into())?;
    String::from_utf8(bytes.to_vec()).map_err(|_| Corrupt)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Corrupt> {
    slice(bytes, N)?.try_into().map_err(|_| Corrupt)
}

fn slice<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Corrupt> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or(Corrupt)?;
    *bytes = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn any_record()(
            key in "[0-9]{1,19}:[0-9]{1,3}",
            id in proptest::option::of(any::<[u8; 16]>()),
            traceparent in proptest::option::of("[0-9a-f-]{1,55}"),
            generation in any::<u64>(),
            value in proptest::collection::vec(any::<u8>(), 0..200),
        ) -> Record {
            let request_id = id.map(RequestId::from);
            Record { key, headers: Headers { request_id, traceparent, generation }, value }
        }
    }

    proptest! {
        #[test]
        fn encoded_records_are_decoded_from_any_offset(
            written in proptest::collection::vec(any_record(), 1..20),
            base in 0..1000_u64,
            skipped in 0..25_u64,
            records_max in 1..25_usize,
        ) {
            let mut payload = Vec::new();
            written.iter().for_each(|record| encode(record, &mut payload));
            let mut read = Vec::new();
            decode(base, &payload, base + skipped, records_max, &mut read).expect("whole");
            let expected: Vec<_> = (base..).zip(written).skip(skipped as usize).take(records_max)
                .map(|(offset, record)| Stored { offset, record }).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn a_truncated_payload_is_reported_as_corrupt(written in any_record(), cut in 1..40_usize) {
            let mut payload = Vec::new();
            encode(&written, &mut payload);
            payload.truncate(payload.len().saturating_sub(cut).max(1));
            prop_assert_eq!(decode(0, &payload, 0, 10, &mut Vec::new()), Err(Corrupt));
        }
    }
}
