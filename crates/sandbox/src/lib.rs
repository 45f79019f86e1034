//! galaxy-sandbox
