//! galaxy-ipam: gives Kubernetes pods floating IPs.
//!
//! ```text
//! watch(pods, nodes, workloads, FloatingIPs, Pools, ConfigMap) ─▶ events ─┐
//! scheduler ─ filter/prioritize/bind/preempt ────────────────────────────▶ ledger ─▶ writes ─▶ FloatingIPs, Binding
//! users ─ HTTP API ──────────────────────────────────────────────────────┘   ▲                     │
//!                                                                            └────── outcome ──────┘
//! ```
//!
//! | module | concern |
//! | --- | --- |
//! | [`service`] | starts and stops it all |
//! | [`engine`] | the ledger behind its lock, and the ways out of it |
//! | `watch` | what happens in the cluster |
//! | [`extender`] | the scheduler's calls |
//! | [`http`] | the API for people |
//! | `access`, `auth`, `tls` | who may connect and use that API |
//! | `writer` | the one writer of FloatingIP objects |
//! | `recorder`, `conditions`, `events`, `pool_status` | what people and the scheduler are told |
//! | `sweep`, `reads` | proof that something is gone |
//! | `config`, `crds` | address pools, definitions |
//! | `lead`, `lease`, `tenure` | who decides, and for how long |
//! | `forward` | calls that belong to the leader |

mod access;
mod auth;
mod backend;
mod calls;
pub mod cli;
pub mod clock;
pub mod cloud;
mod conditions;
mod config;
mod convert;
mod crds;
pub mod engine;
mod events;
pub mod extender;
mod forward;
pub mod http;
mod lead;
mod lease;
pub mod metrics;
mod objects;
mod pool_status;
mod pools;
mod reads;
mod recorder;
mod servers;
pub mod service;
mod sweep;
mod tenure;
mod tls;
mod waiters;
mod watch;
mod writer;
