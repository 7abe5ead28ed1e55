//! The slots of Redis Cluster: which one a key is on, and which node serves it.

use std::fmt;
use std::ops::RangeInclusive;

use ::redis::Value;

pub(super) const SLOTS: u16 = 16_384;

/// The slot of a hash tag, the part of a key between braces: CRC-16/XMODEM.
pub(super) fn slot_of(tag: &str) -> u16 {
    let crc = tag.bytes().fold(0, |crc: u16, byte| {
        let shift = |crc: u16, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        (0..8).fold(crc ^ (u16::from(byte) << 8), shift)
    });
    crc % SLOTS
}

/// A hash tag on one of these slots: the first of `BASE:0`, `BASE:1`, …
pub(super) fn tag_within(base: &str, slots: &RangeInclusive<u16>) -> String {
    let mut tags = (0_u64..).map(|number| format!("{base}:{number}"));
    tags.find(|tag| slots.contains(&slot_of(tag))).expect("every slot has a tag")
}

/// The address of a Redis server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Node {
    /// Parses `host:port` from a redirection. Without a host it is a port of the node that answered.
    pub(super) fn redirected(address: &str, answering: &Self) -> Option<Self> {
        let (host, port) = address.rsplit_once(':')?;
        let host = if host.is_empty() { &answering.host } else { host };
        Some(Self { host: host.to_owned(), port: port.parse().ok()? })
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Slots that one primary serves.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) slots: RangeInclusive<u16>,
    pub(super) primary: Node,
}

/// Parses the answer to `CLUSTER SLOTS` of one node. Slots of a primary with an unknown address are left out.
pub(super) fn parse_ranges(answer: &Value, answering: &Node) -> Option<Vec<Range>> {
    let Value::Array(ranges) = answer else { return None };
    let ranges = ranges.iter().map(|range| parse_range(range, answering));
    Some(ranges.collect::<Option<Vec<_>>>()?.into_iter().filter(|range| range.primary.host != "?").collect())
}

/// The first and the last slot, then the primary and its replicas. A node without a host is the one that answered.
fn parse_range(range: &Value, answering: &Node) -> Option<Range> {
    let Value::Array(fields) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = fields.as_slice() else { return None };
    let [host, Value::Int(port), ..] = primary.as_slice() else { return None };
    let host = match host {
        Value::BulkString(host) if !host.is_empty() => String::from_utf8(host.clone()).ok()?,
        _ => answering.host.clone(),
    };
    let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
    let primary = Node { host, port: u16::try_from(*port).ok()? };
    (last < SLOTS).then_some(Range { slots: first..=last, primary })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, port: u16) -> Node {
        Node { host: host.to_owned(), port }
    }

    #[test]
    fn slots_are_those_that_redis_computes() {
        for (tag, slot) in [("123456789", 0x31c3), ("foo", 12_182), ("", 0)] {
            assert_eq!(slot_of(tag), slot, "{tag}");
        }
    }

    #[test]
    fn a_tag_can_be_found_for_any_slot() {
        for slots in [0..=0, 16_383..=16_383, 5_000..=5_100] {
            let tag = tag_within("sluice", &slots);
            assert!(slots.contains(&slot_of(&tag)), "{tag}");
        }
    }

    #[test]
    fn an_answer_to_cluster_slots_names_the_primary_of_each_range() {
        let text = |text: &str| Value::BulkString(text.into());
        let node_of = |host: Value, port| Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(vec![])]);
        let range =
            |first, last, nodes: Vec<Value>| Value::Array([vec![Value::Int(first), Value::Int(last)], nodes].concat());
        let answer = Value::Array(vec![
            range(0, 99, vec![node_of(text("10.0.0.1"), 6379), node_of(text("10.0.0.9"), 6379)]),
            range(100, 199, vec![node_of(text(""), 7000)]),
            range(200, 299, vec![node_of(text("?"), 7000)]),
            range(300, 16_383, vec![node_of(Value::Nil, 7001)]),
        ]);
        let ranges = parse_ranges(&answer, &node("seed", 6379)).expect("well-formed");
        let expected =
            [(0..=99, node("10.0.0.1", 6379)), (100..=199, node("seed", 7000)), (300..=16_383, node("seed", 7001))];
        assert_eq!(ranges, expected.map(|(slots, primary)| Range { slots, primary }));
        assert_eq!(parse_ranges(&Value::Okay, &node("seed", 6379)), None);
        assert_eq!(parse_ranges(&Value::Array(vec![range(0, 16_384, vec![])]), &node("seed", 6379)), None);
    }

    #[test]
    fn a_redirection_without_a_host_names_a_port_of_the_node_that_answered() {
        let answering = node("seed", 1);
        assert_eq!(Node::redirected("10.0.0.1:6379", &answering), Some(node("10.0.0.1", 6379)));
        assert_eq!(Node::redirected("::1:6379", &answering), Some(node("::1", 6379)));
        assert_eq!(Node::redirected(":6379", &answering), Some(node("seed", 6379)));
        assert_eq!(Node::redirected("nowhere", &answering), None);
    }
}
