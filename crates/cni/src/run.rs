//! From a process's arguments, environment and standard input to its standard output and exit code.

use std::{
    env,
    ffi::OsString,
    io::{self, Read, Write},
    path::Path,
    process::ExitCode,
};

use serde_json::Value;

use crate::{
    Node, Plugin, announce, sdn,
    spec::{Command, Error, NetConf, Request, Version, asked_version, code, version_reply},
};

/// Runs the plugin that the first argument names.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let program = args.next().unwrap_or_default();
    let first = args.next().and_then(|argument| argument.into_string().ok());
    if let (Some(announce::ARGUMENT), Some(jobs)) = (first.as_deref(), args.next()) {
        announce::announce_as_told(&jobs.to_string_lossy());
        return ExitCode::SUCCESS;
    }
    let name = Path::new(&program).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (answer, code) = match answer(&name) {
        Ok(answer) => (answer, ExitCode::SUCCESS),
        Err((version, error)) => (error.to_json(version), ExitCode::FAILURE),
    };
    // A runtime that hung up cannot be told anything.
    let mut out = io::stdout().lock();
    if !answer.is_null() {
        let _ = writeln!(out, "{answer}");
    }
    let _ = out.flush();
    code
}

fn answer(name: &str) -> Result<Value, (Version, Error)> {
    let first = |error| (Version::default(), error);
    let plugin = Plugin::ALL.into_iter().find(|plugin| plugin.name() == name);
    if plugin.is_none() && name != sdn::NAME {
        let names = Plugin::ALL.map(Plugin::name).join(", ");
        let msg = format!("there is no plugin {name:?}; install this program as one of {}, {names}", sdn::NAME);
        return Err(first(Error::config(msg)));
    }
    let env = env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    let request = Request::from_env(env).map_err(first)?;
    let mut input = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut input)
        .map_err(|error| first(Error::io("cannot read the network configuration from standard input", &error)))?;
    if request.command == Command::Version {
        return Ok(version_reply(asked_version(&input)));
    }
    let conf = NetConf::parse(&input)?;
    let fail = |error| (conf.version, error);
    let Some(plugin) = plugin else { return sdn::call(&request, &conf, &input).map_err(fail) };
    let node = Node::here().map_err(|error| fail(Error::new(code::IO, format!("cannot open /proc: {error}"))))?;
    let node = node.with_announcer("/proc/self/exe".into());
    plugin.call(&node, &request, &conf).map_err(fail)
}
