//! The plugins on a small network of namespaces, with real packets. Needs root.

mod client;
mod delegated;
mod faults;
mod lab;
mod lifecycle;
mod matrix;
mod random;
mod reach;
mod records;
mod settings;
mod shared;
mod tagged;
mod traffic;
mod uml;
