//! Networks: the configuration file, the folder of CNI configurations, and which pod gets which.

mod file;
mod folder;
mod network;
mod select;
mod watch;

pub use file::Config;
pub use folder::find as find_in_folder;
pub use network::Network;
pub use select::{Chosen, Selection, parse as parse_selection};
pub use watch::{Configs, follow};
