//! Where a `kafka://` URL points.

use crate::log::OpenError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::log) struct Address {
    /// Comma-separated, as the client library takes them.
    pub(super) brokers: String,
    pub(super) topic: String,
}

impl Address {
    /// Parses `kafka://BROKER:PORT[,BROKER:PORT…]/TOPIC`.
    pub(in crate::log) fn parse(url: &str) -> Option<Self> {
        let (brokers, topic) = url.strip_prefix("kafka://")?.split_once('/')?;
        let is_broker = |broker: &str| {
            broker.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        // Kafka allows 249 characters; the name of the dead-letter topic is longer.
        let is_topic = (1..=200).contains(&topic.len()) && topic.bytes().all(is_allowed);
        let is_valid = brokers.split(',').all(is_broker) && is_topic;
        is_valid.then(|| Self { brokers: brokers.to_owned(), topic: topic.to_owned() })
    }

    pub(super) fn dead_letter_topic(&self) -> String {
        format!("{}.dead-letter", self.topic)
    }

    pub(super) fn unreachable(&self, reason: impl Into<String>) -> OpenError {
        OpenError::Unreachable { what: format!("Kafka at {}", self.brokers), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_brokers_and_a_topic() {
        let address = Address::parse("kafka://b1:9092,b2:9092/coupon-issue").expect("an address");
        assert_eq!((address.brokers.as_str(), address.topic.as_str()), ("b1:9092,b2:9092", "coupon-issue"));
        for invalid in
            ["kafka://", "kafka://b1/t", "kafka://b1:9092", "kafka://b1:9092/", "kafka://b1:x/t", "kafka://b1:1/a b"]
        {
            assert_eq!(Address::parse(invalid), None, "{invalid}");
        }
    }
}
