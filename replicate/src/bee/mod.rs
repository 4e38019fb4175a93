//! Hyperbee: an ordered map kept in the blocks of a core.
