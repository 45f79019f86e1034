//! Everything of Galaxy that crosses a wire: custom resources, annotations, scheduler extender messages,
//! HTTP bodies and configuration files. Types and codecs only; decisions live in `galaxy-core`.

pub mod annotation;
pub mod config;
pub mod crd;
pub mod extender;
pub mod floatingip;
pub mod http;
pub mod names;
pub mod pod;
pub mod pool;
pub mod wire;

pub use floatingip::{FloatingIP, FloatingIPSpec};
pub use pool::Pool;
