//! Parses `counters.url` for Redis.

use ::redis::{ConnectionInfo, IntoConnectionInfo, RedisError};

use crate::counters::OpenError;

/// Where Redis listens: one server, or nodes of a cluster, from which the gateway learns the others.
pub(super) struct Address {
    pub(super) is_cluster: bool,
    /// At least one, all with the same user.
    pub(super) seeds: Vec<ConnectionInfo>,
}

impl Address {
    /// Parses `redis://[user@]host:port[/db]` or `redis+cluster://[user@]host:port,host:port,…`.
    pub(super) fn parse(url: &str) -> Result<Self, OpenError> {
        if url.contains(['?', '#']) {
            return Err(OpenError::Url("expected a URL without `?` and `#`".to_owned()));
        }
        let Some((scheme, rest)) = url.split_once("+cluster://") else {
            return Ok(Self { is_cluster: false, seeds: vec![connection_info(url)?] });
        };
        let (user, nodes) = rest.rsplit_once('@').map_or(("", rest), |(user, nodes)| (user, nodes));
        let user = if user.is_empty() { String::new() } else { format!("{user}@") };
        let seeds = nodes.split(',').map(|node| connection_info(&format!("{scheme}://{user}{node}")));
        let seeds = seeds.collect::<Result<Vec<_>, _>>()?;
        if seeds.iter().any(|seed| seed.redis_settings().db() != 0) {
            return Err(OpenError::Url(
                "a Redis Cluster has only database 0: separate systems by counters.key_prefix".to_owned(),
            ));
        }
        Ok(Self { is_cluster: true, seeds })
    }
}

fn connection_info(url: &str) -> Result<ConnectionInfo, OpenError> {
    url.into_connection_info().map_err(|error: RedisError| OpenError::Url(error.to_string()))
}
