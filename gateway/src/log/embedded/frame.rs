//! The binary form of a batch: its records, one after the other.
//!
//! ```text
//! u32 length of the rest │ u8 flags │ [u8; 16] request id │ u64 generation
//! u16 length │ key │ u16 length │ traceparent (empty: none) │ value
//! ```
//!
//! Integers are little-endian. Flags: 1 if there is a request id, 2 if the canary of a rollout decided.

use crate::coupon::{Arm, DecidedBy, Offset, RequestId};
use crate::log::{Headers, Record, Stored};

const HAS_REQUEST_ID: u8 = 1;
const IS_CANARY: u8 = 2;

/// A batch ends in the middle of a record, or holds text that is not UTF-8.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a batch is corrupt: restore the file of log.url from a backup")]
pub(super) struct Corrupt;

pub(super) fn encode(record: &Record, payload: &mut Vec<u8>) {
    let start = payload.len();
    payload.extend_from_slice(&[0; 4]);
    payload.push(flags(&record.headers));
    payload.extend_from_slice(record.headers.request_id.as_ref().map_or(&[0; 16][..], |id| id.as_bytes()));
    payload.extend_from_slice(&record.headers.decided_by.generation.to_le_bytes());
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

fn flags(headers: &Headers) -> u8 {
    let request_id = headers.request_id.map_or(0, |_| HAS_REQUEST_ID);
    match headers.decided_by.arm {
        Arm::Active => request_id,
        Arm::Canary => request_id | IS_CANARY,
    }
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
    let [flags] = take(&mut frame)?;
    let request_id = RequestId::from(take::<16>(&mut frame)?);
    let generation = u64::from_le_bytes(take(&mut frame)?);
    let arm = if flags & IS_CANARY == 0 { Arm::Active } else { Arm::Canary };
    let key = text(&mut frame)?;
    let traceparent = text(&mut frame)?;
    Ok(Record {
        key,
        headers: Headers {
            request_id: (flags & HAS_REQUEST_ID != 0).then_some(request_id),
            traceparent: Some(traceparent).filter(|text| !text.is_empty()),
            decided_by: DecidedBy { generation, arm },
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
            arm in proptest::sample::select(vec![Arm::Active, Arm::Canary]),
            value in proptest::collection::vec(any::<u8>(), 0..200),
        ) -> Record {
            let request_id = id.map(RequestId::from);
            let decided_by = DecidedBy { generation, arm };
            Record { key, headers: Headers { request_id, traceparent, decided_by }, value }
        }
    }

    #[test]
    fn the_form_in_the_file_is_stable_and_one_bit_tells_the_canary_arm() {
        for (arm, flags) in [(Arm::Active, 1), (Arm::Canary, 3)] {
            let decided_by = DecidedBy { generation: 7, arm };
            let headers = Headers { request_id: Some([9; 16].into()), traceparent: None, decided_by };
            let mut payload = Vec::new();
            encode(&Record { key: "1:0".to_owned(), headers, value: b"{}".to_vec() }, &mut payload);
            let expected: [&[u8]; 7] =
                [&[34, 0, 0, 0, flags], &[9; 16], &[7, 0, 0, 0, 0, 0, 0, 0], &[3, 0], b"1:0", &[0, 0], b"{}"];
            assert_eq!(payload, expected.concat());
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
