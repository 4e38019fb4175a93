//! What both dialects share: a routing table, the walk towards a target, and requests that wait for their answers.
//!
//! Each dialect's rules are arguments. Nothing here knows how a message looks.

mod distance;
mod query;
mod requests;
mod table;
mod window;

pub use distance::{closer, shared_bits};
pub use query::{Candidate, Order, Query, QueryRules, Replier};
pub use requests::{Expired, Pending, RequestRules, Requests};
pub use table::{Contact, Row, Table};
pub use window::Window;
