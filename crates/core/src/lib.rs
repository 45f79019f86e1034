//! galaxy-core
