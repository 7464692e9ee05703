//! What the tables of a stack hold, table by table.
//!
//! In:    the capacities of the tables
//! Out:   bytes, by table
//! Never: walks a table; counts what a connection has on the heap beside its slot

use slotmap::SlotMap;

use super::Stack;

impl Stack {
    /// Bytes allocated for each table that grows with connections. Buffers are in [`Stack::stats`]; what
    /// a connection holds on the heap (records of segments in flight, bytes out of order) is in neither.
    pub fn footprint(&self) -> [(&'static str, usize); 7] {
        let ids = size_of_val(self.connection_ids.as_slice())
            + size_of_val(self.half_open_ids.as_slice());
        let lists = self.ready.capacity() * size_of::<crate::flow::ConnId>()
            + self.events.capacity() * size_of::<super::Event>();
        [
            ("connections", slots(&self.connections)),
            ("flow table", self.flows.allocated_bytes()),
            ("timers of connections", self.connection_timers.allocated_bytes()),
            ("handshakes, with timers", {
                slots(&self.half_opens) + self.half_open_timers.allocated_bytes()
            }),
            ("identifiers by index", ids),
            ("ready and event lists", lists),
            ("neighbours", self.neighbors.allocated_bytes()),
        ]
    }
}

/// A slot is its value, and a version beside it.
fn slots<K: slotmap::Key, V>(map: &SlotMap<K, V>) -> usize {
    map.capacity() * (size_of::<V>() + size_of::<u32>()).next_multiple_of(align_of::<V>().max(4))
}
