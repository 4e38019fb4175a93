//! How much of a line strict long-poll uses.
