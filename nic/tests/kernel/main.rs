//! What only a kernel can tell: the XDP program's verdicts, and AF_XDP queues over veth.
//!
//! In:    root, a kernel with AF_XDP, iproute2, ping
//! Out:   a failure, never a skip, where one of these is missing
//! Owns:  namespaces called nicx-*

mod program;
mod queue;
mod support;
