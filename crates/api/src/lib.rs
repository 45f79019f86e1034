//! galaxy-api
