//! CNI plugins that give a pod exactly the addresses that galaxy-ipam chose for it.
//!
//! One program with many names: [`run`] looks at the name that it was called by.

mod announce;
mod attach;
mod device;
mod ident;
mod ipam;
mod leftover;
pub mod netlink;
mod node;
mod plugins;
mod run;
mod sdn;
pub mod spec;
mod state;
mod sysctl;
mod undo;

pub use leftover::Leftover;
pub use node::Node;
pub use plugins::Plugin;
pub use run::run;

/// Tells the runtime's log. Standard output belongs to the result.
fn warn(message: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{message}");
}
