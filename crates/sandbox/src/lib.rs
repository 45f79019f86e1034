//! galaxy-sandbox

pub mod clock;
