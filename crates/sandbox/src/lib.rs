//! galaxy-sandbox

pub mod apiserver;
pub mod clock;
