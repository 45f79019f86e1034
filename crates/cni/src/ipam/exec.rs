//! Running another plugin.

use std::{
    env,
    io::Write,
    path::PathBuf,
    process::{Child, Command as Process, Stdio},
};

use serde_json::Value;

use crate::spec::{Command, Error, Request, code};

/// Calls plugin `kind` with the configuration on its standard input. The answer is null where there is none.
///
/// # Errors
/// Those of the plugin with their code, and [`code::INVALID_CONFIG`] if it is nowhere in `CNI_PATH`.
pub(super) fn call(kind: &str, request: &Request, command: Command, conf: &Value) -> Result<Value, Error> {
    let program = find(kind, &request.path)?;
    let fail = |what: &str, error: &std::io::Error| {
        Error::io(format!("IPAM plugin {}: cannot {what}", program.display()), error)
    };
    let env = request.env.iter().filter(|(key, _)| key != "CNI_COMMAND");
    let mut child = Process::new(&program)
        .env_clear()
        .envs(env.map(|(key, value)| (key, value)))
        .env("CNI_COMMAND", command.as_str())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| fail("be started", &error))?;
    feed(&mut child, conf);
    let output = child.wait_with_output().map_err(|error| fail("be waited for", &error))?;
    let answer: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    if output.status.success() {
        return match answer {
            None if command == Command::Add => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                Err(Error::new(code::DECODING, format!("IPAM plugin {kind} answered {text:?}, which is not JSON")))
            }
            answer => Ok(answer.unwrap_or_default()),
        };
    }
    let code = answer.as_ref().and_then(|answer| answer["code"].as_u64()).and_then(|code| u32::try_from(code).ok());
    let text = answer
        .as_ref()
        .and_then(|answer| answer["msg"].as_str())
        .map(str::to_owned)
        .unwrap_or_else(|| format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()));
    Err(Error::new(code.unwrap_or(code::IO), format!("IPAM plugin {kind} failed in {}: {text}", command.as_str())))
}

/// A plugin need not read what it gets; one that ended without is judged by its answer.
fn feed(child: &mut Child, conf: &Value) {
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(conf.to_string().as_bytes());
    }
}

fn find(kind: &str, path: &str) -> Result<PathBuf, Error> {
    let folders = env::split_paths(path).filter(|folder| folder.is_absolute());
    let found = folders.map(|folder| folder.join(kind)).find(|file| file.is_file());
    found.ok_or_else(|| Error::config(format!("IPAM plugin {kind:?} is in no folder of CNI_PATH={path:?}")))
}
