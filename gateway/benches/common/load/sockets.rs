//! All connections, and the wait for any of them.

use std::net::SocketAddr;
use std::ops::{Index, IndexMut};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::retry_on_intr;
use rustix::time::Timespec;

use super::connection::Connection;

/// No answer takes as long.
const STALLED: Duration = Duration::from_secs(60);

pub(super) struct Sockets {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    events: Vec<Event>,
}

impl Sockets {
    pub(super) fn connect(gateways: &[SocketAddr], connections: usize) -> Self {
        let epoll = epoll::create(CreateFlags::CLOEXEC).expect("an epoll");
        let connections: Vec<_> = gateways.iter().cycle().take(connections).map(|at| Connection::open(*at)).collect();
        let events = Vec::with_capacity(connections.len());
        let sockets = Self { epoll, connections, events };
        (0..sockets.connections.len()).for_each(|number| sockets.watch(number));
        sockets
    }

    fn watch(&self, number: usize) {
        let (socket, data) = (&self.connections[number].socket, EventData::new_u64(number as u64));
        epoll::add(&self.epoll, socket, data, EventFlags::IN).expect("is watched");
    }

    /// Whether a ready connection had nothing to answer: the gateway closed it, because it was not used for long.
    pub(super) fn reopen_if_idle(&mut self, number: usize) -> bool {
        let is_idle = self.connections[number].is_idle;
        if is_idle {
            self.connections[number].reopen();
            self.watch(number);
        }
        is_idle
    }

    /// Waits until connections have something to read, and adds their numbers to `ready`, or until the timeout.
    pub(super) fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<usize>) {
        let wait = Timespec::try_from(timeout.unwrap_or(STALLED)).expect("short");
        self.events.clear();
        retry_on_intr(|| epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&wait))).expect("waits");
        assert!(timeout.is_some() || !self.events.is_empty(), "no answer for {STALLED:?}");
        ready.extend(self.events.iter().map(|event| event.data.u64() as usize));
    }
}

impl Index<usize> for Sockets {
    type Output = Connection;

    fn index(&self, number: usize) -> &Connection {
        &self.connections[number]
    }
}

impl IndexMut<usize> for Sockets {
    fn index_mut(&mut self, number: usize) -> &mut Connection {
        &mut self.connections[number]
    }
}
