//! A Kubernetes API server in memory, for the resources that Galaxy uses.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use galaxy_sandbox::apiserver::{Action, Options, Rule, Server};
//!
//! let server = Server::start(Options::default()).await?;
//! let client = server.client("my-test");
//! // The next Binding is carried out, but its answer is lost.
//! server.faults().add(Rule::new(Action::DropAfter).resource("pods").subresource("binding").times(1));
//! # Ok(()) }
//! ```
//! It serves plain HTTP on the loopback interface to clients such as kube and kubectl; `docs/sandbox.md` says what it does and what it
//! does not. One lock holds all state: a request sees the store as no other request changes it meanwhile.

mod api;
mod apply;
mod calls;
mod columns;
mod crd;
mod custom;
mod delete;
mod discovery;
mod disruption;
mod events;
mod faults;
mod form;
mod gc;
mod jsonpath;
mod kinds;
mod object;
mod openapi;
mod patch;
mod path;
mod pods;
mod protobuf;
mod read;
mod resource;
mod review;
mod rules;
mod scale;
mod schema;
mod selector;
mod serve;
mod server;
mod status;
mod store;
mod strategic;
mod table;
mod typed_schemas;
mod watch;
mod write;

pub use calls::{Answered, Call, Calls};
pub use faults::{Action, EventAction, Faults, Gate, Handle, Rule};
pub use review::{Right, User};
pub use server::{Options, Server};
pub use status::Status;
