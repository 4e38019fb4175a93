//! What both dialects share: a routing table, the walk towards a target, and requests that wait for their answers.
//!
//! Each dialect's rules are arguments. Nothing here knows how a message looks.

mod distance;
mod pace;
mod query;
mod requests;
mod table;
mod window;

pub use distance::{closer, shared_bits};
pub use query::{Candidate, Order, Query, QueryRules, Replier};
pub use requests::{Expired, Patience, Pending, RequestRules, Requests};
pub use table::{Contact, Row, RowRules, Table};
pub use window::Window;
