//! galaxy-sandbox

pub mod apiserver;
pub mod clock;
pub mod control;
pub mod controllers;
pub mod scheduler;
