//! The plugins on a small network of namespaces, with real packets. Needs root.

mod delegated;
mod faults;
mod lab;
mod lifecycle;
mod matrix;
mod reach;
mod shared;
mod tagged;
mod traffic;
mod uml;
