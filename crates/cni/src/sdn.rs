//! galaxy-sdn: passes every call on to the agent of the node, over HTTP on a Unix socket.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::spec::{AddResult, Command, Error, NetConf, Request, code};

/// Name of the program, and `type` in configurations.
pub(crate) const NAME: &str = "galaxy-sdn";

/// Where the agent listens unless the configuration says `socket`.
const SOCKET: &str = "/var/run/galaxy/galaxy.sock";

/// Longest wait for the agent. Runtimes give up on a call before.
const PATIENCE: Duration = Duration::from_secs(300);

/// Longest answer in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// Passes a call on. The answer is in the version of the configuration, whatever version the agent's is.
///
/// # Errors
/// Those of the agent; [`code::TRY_AGAIN`], or [`code::NOT_AVAILABLE`] for STATUS, if it cannot be reached.
pub(crate) fn call(request: &Request, conf: &NetConf, input: &[u8]) -> Result<Value, Error> {
    let socket = match conf.value.get("socket") {
        None | Some(Value::Null) => SOCKET,
        Some(Value::String(path)) if path.starts_with('/') => path,
        Some(other) => return Err(Error::config(format!("socket {other} must be an absolute path"))),
    };
    let env: BTreeMap<&str, &str> = request.env.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let body = json!({ "env": env, "config": STANDARD.encode(input) }).to_string();
    let (status, body) = post(socket, &body).map_err(|error| {
        let code = if request.command == Command::Status { code::NOT_AVAILABLE } else { code::TRY_AGAIN };
        Error::new(
            code,
            format!("cannot reach the galaxy agent at {socket}: {error}; is its pod running on this node?"),
        )
    })?;
    let answer: Option<Value> = serde_json::from_slice(&body).ok();
    if status != 200 {
        return Err(refusal(answer.as_ref(), &String::from_utf8_lossy(&body)));
    }
    if request.command != Command::Add {
        return Ok(Value::Null);
    }
    let text = || String::from_utf8_lossy(&body).into_owned();
    let answer =
        answer.ok_or_else(|| Error::new(code::DECODING, format!("galaxy returns: {:?}, which is not JSON", text())))?;
    let result = AddResult::from_json(&answer, conf.version)?;
    if result.ips.is_empty() {
        return Err(Error::new(code::DECODING, format!("galaxy returns: {}, a result without addresses", text())));
    }
    Ok(result.to_json(conf.version))
}

/// The agent's own error object, or its text.
fn refusal(answer: Option<&Value>, text: &str) -> Error {
    let of_agent = answer.and_then(|answer| {
        let code = u32::try_from(answer.get("code")?.as_u64()?).ok()?;
        Some(Error::new(code, answer.get("msg")?.as_str()?))
    });
    of_agent.unwrap_or_else(|| Error::new(code::IO, format!("galaxy returns: {}", text.trim())))
}

/// One request with HTTP/1.0: the answer ends with the connection and is never in pieces.
fn post(socket: &str, body: &str) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = format!(
        "POST /cni HTTP/1.0\r\nHost: dummy\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_BYTES).read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its answer is not HTTP"))
}

fn parse(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut first = head.lines().next()?.split(' ');
    first.next().filter(|version| version.starts_with("HTTP/1."))?;
    Some((first.next()?.parse().ok()?, answer[end + 4..].to_vec()))
}
