//! What the stack counts: a private word per worker each, read by whoever publishes them.
//!
//! Never: shared, logged per packet

macro_rules! counters {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$doc])* pub $field: u64,)* }

        impl $name {
            /// Names and values, in order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Counters of a stack since it was made.
    Counters {
        /// Frames taken in.
        frames_in,
        /// Frames given out.
        frames_out,
        /// TCP segments taken in.
        segments_in,
        /// TCP segments given out.
        segments_out,
        /// Segments sent again.
        retransmits,
        /// Recoveries that were taken back because nothing had been lost.
        undone,
        /// Connections reset because too many were being left by their users at once.
        orphans_reset,
        /// Packets given to the worker that owns their port.
        handed_to_owner,
        /// Packets passed on because this worker does not know their flow.
        handed_on,
        /// SYNs that began a handshake.
        passive_opens,
        /// Connections begun from here.
        active_opens,
        /// Handshakes completed for a listener.
        accepted,
        /// SYNs answered by a cookie, because there is no room for another handshake.
        cookies_sent,
        /// Handshakes completed by the cookie that came back.
        cookies_accepted,
        /// Acknowledgments for a listener that no flow and no cookie explains, while cookies may come back.
        cookies_failed,
        /// SYNs and completed handshakes kept waiting because the listener's accept queue is full.
        accept_queue_full,
        /// Connections that could not get a source port.
        no_source_port,
        /// RSTs sent for what nobody owns.
        resets_sent,
        /// RSTs not sent because of their rate limit.
        resets_suppressed,
        /// Control packets dropped because their queue was full or their neighbour unknown.
        replies_dropped,
        /// Drops: shorter than its headers say, or longer than they allow.
        malformed,
        /// Drops: a wrong checksum.
        checksum,
        /// Drops: a fragment.
        fragment,
        /// Drops: not for an address, a protocol or a VLAN of ours.
        not_for_us,
        /// Drops: nobody owns the flow.
        no_flow,
        /// Drops: its peer is to hear nothing more.
        silenced,
        /// Drops: outside the window, or a repetition.
        out_of_window,
        /// Drops: an old timestamp (PAWS).
        old_timestamp,
        /// Drops: an acknowledgment of nothing.
        bad_ack,
        /// Drops: a RST or SYN that must prove itself (RFC 5961).
        challenged,
        /// Drops: makes no sense in the connection's state.
        unexpected,
        /// Drops: no buffer left.
        no_buffer,
    }
}

/// Why a packet went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Shorter than its headers say, or longer than they allow.
    Malformed,
    /// A wrong checksum.
    Checksum,
    /// A fragment.
    Fragment,
    /// Not for an address, a protocol or a VLAN of ours.
    NotForUs,
    /// Nobody owns the flow.
    NoFlow,
    /// Its peer is to hear nothing more.
    Silenced,
}

impl Counters {
    pub(crate) fn dropped(&mut self, reason: DropReason) {
        let counter = match reason {
            DropReason::Malformed => &mut self.malformed,
            DropReason::Checksum => &mut self.checksum,
            DropReason::Fragment => &mut self.fragment,
            DropReason::NotForUs => &mut self.not_for_us,
            DropReason::NoFlow => &mut self.no_flow,
            DropReason::Silenced => &mut self.silenced,
        };
        *counter += 1;
    }
}
