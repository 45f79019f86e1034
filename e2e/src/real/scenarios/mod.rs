//! What only real controllers, a real scheduler and a real API server can show.

pub mod controllers;
