//! galaxy-ipam
