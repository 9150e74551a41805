//! The client role in memory: against a real shard, and against servers that misbehave.

mod faults;
mod net;
mod script;
mod world;

#[test]
fn a_slot_and_its_place_in_the_table_are_small() {
    use ringmesh_runtime::load::CLIENT_BYTES;
    assert!(CLIENT_BYTES <= 128, "{CLIENT_BYTES}");
}
