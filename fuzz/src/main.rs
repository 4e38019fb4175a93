//! libFuzzer's program: feeds one decoder, named in `ANYPATH_FUZZ`, of those that the test suite replays the corpus to.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

#[path = "../../interop/src/decoders.rs"]
mod decoders;

static DECODER: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("ANYPATH_FUZZ").unwrap_or_default();
    let decoder = decoders::DECODERS.iter().find(|(known, _)| *known == name);
    let known = || decoders::DECODERS.iter().map(|(known, _)| *known).collect::<Vec<_>>();
    decoder.unwrap_or_else(|| panic!("ANYPATH_FUZZ={name:?} is none of {:?}", known())).1
});

fuzz_target!(|data: &[u8]| DECODER(data));
