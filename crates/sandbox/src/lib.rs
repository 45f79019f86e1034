//! galaxy-sandbox

pub mod apiserver;
pub mod clock;
pub mod cluster;
pub mod control;
pub mod controllers;
pub mod nodes;
pub mod scheduler;
pub mod underlay;
pub mod up;
