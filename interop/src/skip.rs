//! Leaves a test out when what it needs is not on this machine, unless nothing may be left out.

/// Says why a test is skipped; the caller returns.
///
/// # Panics
/// If `ANYPATH_STRICT` is set: there a test that would skip fails instead.
#[expect(clippy::print_stderr, reason = "the test runner shows it to the person who runs the tests")]
pub fn skip(reason: &str) {
    assert!(std::env::var_os("ANYPATH_STRICT").is_none(), "would skip, and ANYPATH_STRICT is set: {reason}");
    eprintln!("skipped: {reason}");
}
