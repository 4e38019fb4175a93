//! What the fuzzer found worth keeping, replayed: every file of `fuzz/corpus/<decoder>` through its decoder.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use anypath_interop::decoders::DECODERS;

#[test]
fn every_decoder_takes_its_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut failed = Vec::new();
    for (name, decode) in DECODERS {
        let inputs: Vec<_> = files(&corpus.join(name));
        assert!(inputs.len() >= INPUTS_MIN, "the corpus of {name} is gone: {} inputs", inputs.len());
        failed.extend(inputs.into_iter().filter(|(_, input)| catch_unwind(|| decode(input)).is_err()));
    }
    let failed: Vec<_> = failed.into_iter().map(|(file, _)| file).collect();
    assert!(failed.is_empty(), "these inputs panic (the reasons stand above): {failed:?}");
}

#[test]
fn every_corpus_has_its_decoder() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for folder in fs::read_dir(corpus).expect("the corpus can be read").flatten() {
        let known = DECODERS.iter().any(|(name, _)| folder.file_name() == *name);
        assert!(known, "{:?} belongs to no decoder", folder.path());
    }
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let listing = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let read = |path: &Path| fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    listing.flatten().map(|file| (file.path().display().to_string(), read(&file.path()))).collect()
}

/// Fewer than these cannot be all that there were.
const INPUTS_MIN: usize = 3;
