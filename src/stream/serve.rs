//! A stream whose server is xlb itself: the statistics page, the metrics.
//!
//! In:    a request of HTTP/1; the answer, which another thread makes
//! Out:   a call to that thread; the bytes of the answer
//! Never: makes an answer itself: that needs all workers
//! Read:  RFC 9112

use std::net::IpAddr;

use super::{Cause, End, Outcome, Phase, State, Stream, World};
use crate::clock::Instant;
use crate::config::model::ProxyIndex;
use crate::transport::{Token, Transport};

/// Bytes of a request, its head and what is posted.
const REQUEST_MAX: usize = 16_384;

/// How far the service of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// The request is not there as a whole.
    Reading,
    /// Somebody makes the answer.
    Waiting,
    /// The answer is on its way; so much of it was sent.
    Answering { sent: usize },
    /// All of it was sent: the client is to take it, and to close.
    Closing,
}

/// A request that somebody else is to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCall {
    /// The worker that waits for it.
    pub worker: usize,
    /// The stream.
    pub token: Token,
    /// Where it came in.
    pub frontend: ProxyIndex,
    /// Who asks.
    pub client: Option<IpAddr>,
    /// The bytes of the request.
    pub request: Vec<u8>,
}

impl<C: Copy + Eq + std::fmt::Debug> Stream<C> {
    /// The answer to its request is there.
    pub fn answer(&mut self, answer: Vec<u8>) {
        if self.state == State::Serve(Service::Waiting) {
            self.answer = answer;
            self.state = State::Serve(Service::Answering { sent: 0 });
        }
    }

    /// Reads, waits, answers.
    pub(super) fn serve<T: Transport<Conn = C>>(
        &mut self,
        mut service: Service,
        world: &mut World<'_, T>,
        now: Instant,
    ) -> Outcome {
        let status = world.transport.status(self.front).unwrap_or_default();
        let end = |cause, phase| Outcome::Ended(End { cause, phase });
        if !status.is_open || status.failure.is_some() {
            return end(Cause::Client, Phase::Data);
        }
        if service == Service::Reading {
            let mut request = vec![0; status.readable.min(REQUEST_MAX)];
            let len = world.transport.peek(self.front, 0, &mut request);
            request.truncate(len);
            if is_complete(&request) || len == REQUEST_MAX {
                world.transport.recv(self.front, &mut request, now);
                self.request.total += len as u64;
                for counters in world.counters.fronts(self.frontend, self.entrance.place) {
                    counters.bytes_in += len as u64;
                }
                let (worker, token, frontend) = (world.worker, self.token, self.frontend);
                let client = self.source(world.transport).map(|source| source.ip().to_canonical());
                world.calls.push(ServiceCall { worker, token, frontend, client, request });
                service = Service::Waiting;
                self.active_at = now;
            } else if status.fin {
                return end(Cause::Client, Phase::Request);
            }
        }
        if let Service::Answering { sent } = service {
            let taken = world.transport.send(self.front, &self.answer[sent..], now);
            self.response.total += taken as u64;
            for counters in world.counters.fronts(self.frontend, self.entrance.place) {
                counters.bytes_out += taken as u64;
            }
            if taken > 0 {
                self.active_at = now;
            }
            service = Service::Answering { sent: sent + taken };
            if sent + taken == self.answer.len() {
                world.transport.shut(self.front, now);
                service = Service::Closing;
            }
        }
        self.state = State::Serve(service);
        if service == Service::Closing && status.fin {
            return Outcome::Ended(End::NORMAL);
        }
        let timeout = world.frontend(self).timeouts.client;
        match timeout.map(|timeout| self.active_at + timeout) {
            Some(until) if until <= now => end(Cause::ClientTimeout, Phase::Data),
            until => Outcome::Wait(until),
        }
    }
}

/// Whether a request is there as a whole: its head, and as many bytes behind it as it announces.
fn is_complete(bytes: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) => false,
        // Who answers it says that it is wrong.
        Err(_) => true,
        Ok(httparse::Status::Complete(head)) => {
            let length = request
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case("content-length"))
                .and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok())
                .unwrap_or(0_usize);
            bytes.len() - head >= length
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_whole_with_its_body() {
        assert!(!is_complete(b"GET / HTTP/1.1\r\nHost: x\r\n"));
        assert!(is_complete(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(!is_complete(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab"));
        assert!(is_complete(b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc"));
        assert!(is_complete(b"nonsense\x01\r\n"), "it is answered");
    }
}
