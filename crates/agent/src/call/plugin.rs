//! One call of one plugin: Galaxy's own in this process, others as programs.

use std::{
    env,
    path::PathBuf,
    process::{Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use galaxy_cni::{
    Plugin,
    spec::{Command, Error, NetConf, Request, code},
};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process};

use super::Agent;

/// Longest time that a plugin may take.
const PATIENCE: Duration = Duration::from_secs(220);

/// What a plugin is called with, beside its configuration.
#[derive(Debug, Clone)]
pub(super) struct Environment {
    pub container_id: String,
    pub netns: String,
    pub ifname: String,
    pub args: String,
    /// The runtime's own, for all other variables.
    pub env: Vec<(String, String)>,
}

impl Agent {
    /// Calls a plugin. The answer is null where there is none.
    pub(super) async fn run(
        self: &Arc<Self>,
        command: Command,
        environment: &Environment,
        conf: &Value,
    ) -> Result<Value, Error> {
        let kind = conf["type"].as_str().unwrap_or_default().to_owned();
        let begin = Instant::now();
        let env = self.variables(command, environment);
        let answer = match Plugin::ALL.into_iter().find(|plugin| plugin.name() == kind) {
            Some(plugin) => self.call_own(plugin, env, conf).await,
            None => self.call_program(&kind, command, env, conf).await,
        };
        self.metrics.call(command.as_str(), &kind, answer.is_ok(), begin.elapsed());
        if matches!(&answer, Err(error) if error.code == code::ADDRESS_CONFLICT) {
            self.metrics.conflict("in_use");
        }
        answer
    }

    /// The environment: the runtime's, with what differs for this plugin.
    fn variables(&self, command: Command, environment: &Environment) -> Vec<(String, String)> {
        let given = |name: &str| environment.env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let mut path: Vec<PathBuf> = env::split_paths(&given("CNI_PATH").unwrap_or_default()).collect();
        path.extend(self.cni_paths.iter().cloned());
        let path = env::join_paths(path.iter().filter(|path| path.is_absolute())).unwrap_or_default();
        let ours = [
            ("CNI_COMMAND", command.as_str().to_owned()),
            ("CNI_CONTAINERID", environment.container_id.clone()),
            ("CNI_NETNS", environment.netns.clone()),
            ("CNI_IFNAME", environment.ifname.clone()),
            ("CNI_ARGS", environment.args.clone()),
            ("CNI_PATH", path.to_string_lossy().into_owned()),
        ];
        let others = environment.env.iter().filter(|(key, _)| !key.starts_with("CNI_")).cloned();
        let ours = ours.map(|(key, value)| (key.to_owned(), value));
        let search = env::var("PATH").ok().filter(|_| given("PATH").is_none()).map(|path| ("PATH".to_owned(), path));
        others.chain(search).chain(ours).collect()
    }

    async fn call_own(&self, plugin: Plugin, env: Vec<(String, String)>, conf: &Value) -> Result<Value, Error> {
        let request = Request::from_env(env)?;
        let conf = NetConf::parse(conf.to_string().as_bytes()).map_err(|(_, error)| error)?;
        let node = self.node.clone();
        // Only sockets and threads that it makes itself enter other namespaces.
        let done = tokio::task::spawn_blocking(move || plugin.call(&node, &request, &conf)).await;
        done.unwrap_or_else(|error| Err(Error::new(code::IO, format!("{} failed badly: {error}", plugin.name()))))
    }

    async fn call_program(
        &self,
        kind: &str,
        command: Command,
        env: Vec<(String, String)>,
        conf: &Value,
    ) -> Result<Value, Error> {
        let path = env.iter().find(|(key, _)| key == "CNI_PATH").map(|(_, value)| value.clone()).unwrap_or_default();
        let program = env::split_paths(&path).map(|folder| folder.join(kind)).find(|file| file.is_file());
        let program = program.ok_or_else(|| Error::config(format!("plugin {kind:?} is in no folder of {path:?}")))?;
        let fail = |what: &str, error: std::io::Error| {
            Error::io(format!("plugin {}: cannot {what}", program.display()), &error)
        };
        let mut process = process::Command::new(&program);
        process
            .env_clear()
            .envs(env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let runtime = tokio::runtime::Handle::current();
        // A process is born in the namespace of the thread that starts it.
        let child = self.node.host().within(|| {
            let _runtime = runtime.enter();
            process.spawn()
        });
        let mut child = child.and_then(|child| child).map_err(|error| fail("be started", error))?;
        let mut stdin = child.stdin.take();
        let conf = conf.to_string();
        let work = async {
            if let Some(stdin) = &mut stdin {
                // A plugin need not read what it gets; one that ended without is judged by its answer.
                let _ = stdin.write_all(conf.as_bytes()).await;
            }
            drop(stdin.take());
            child.wait_with_output().await
        };
        let output = tokio::time::timeout(PATIENCE, work).await;
        let output =
            output.map_err(|_| Error::new(code::IO, format!("plugin {kind} did not end within {PATIENCE:?}")))?;
        read(kind, command, &output.map_err(|error| fail("be waited for", error))?)
    }
}

fn read(kind: &str, command: Command, output: &Output) -> Result<Value, Error> {
    let answer: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    if output.status.success() {
        return match answer {
            None if command == Command::Add => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                Err(Error::new(code::DECODING, format!("plugin {kind} answered {text:?}, which is not JSON")))
            }
            answer => Ok(answer.unwrap_or_default()),
        };
    }
    let said = answer.as_ref().and_then(|answer| Some((answer["code"].as_u64()?, answer["msg"].as_str()?)));
    let (number, text) = match said {
        Some((number, text)) => (u32::try_from(number).unwrap_or(code::IO), text.to_owned()),
        None => (code::IO, format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())),
    };
    Err(Error::new(number, format!("plugin {kind} failed in {}: {text}", command.as_str())))
}
