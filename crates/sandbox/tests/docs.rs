//! What the pages show is true: console blocks are run against a sandbox and print what they say, YAML objects are accepted by it, JSON is JSON.

mod markdown;

use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use galaxy_sandbox::up::{Ports, World, examples};
use markdown::{Block, Step, blocks, matches, root, steps};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

/// How long a command may take, and how long one that only reads is repeated until it shows what it should.
const PATIENCE: Duration = Duration::from_secs(60);

/// A page with its blocks, on a cluster of its own.
struct Page {
    name: &'static str,
    world: World,
}

impl Page {
    async fn shell(&self, command: &str, input: &str) -> Output {
        let mut child = Command::new("bash")
            .args(["-euo", "pipefail", "-c", command])
            .current_dir(root())
            .env("KUBECONFIG", self.world.kubeconfig())
            .env("GALAXY", self.world.api_url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let finished = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        finished.unwrap_or_else(|_| panic!("{}: no end of {command}", self.name)).unwrap()
    }

    /// Runs a console block; commands that only read are repeated until they show what is expected.
    async fn console(&self, block: &Block) {
        for Step { command, output } in steps(&block.lines) {
            let repeatable =
                ["kubectl get", "kubectl describe", "curl -s \"$GALAXY"].iter().any(|read| command.starts_with(read));
            let start = Instant::now();
            loop {
                let answer = self.shell(&command, "").await;
                let printed = String::from_utf8_lossy(&answer.stdout).into_owned();
                if answer.status.success() && (output.is_empty() || matches(&output, &printed)) {
                    break;
                }
                if !repeatable || start.elapsed() > PATIENCE {
                    let (expected, errors) = (output.join("\n"), String::from_utf8_lossy(&answer.stderr).into_owned());
                    panic!(
                        "{}:{}: {command}\n-- printed\n{printed}\n-- expected\n{expected}\n-- errors ({})\n{errors}",
                        self.name, block.line, answer.status
                    );
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// Objects are accepted by the API server; the rest is at least YAML.
    async fn yaml(&self, block: &Block) {
        let text = block.lines.join("\n");
        let place = format!("{}:{}", self.name, block.line);
        let objects: Vec<Value> = examples::documents(&text).unwrap_or_else(|error| panic!("{place}: {error:#}"));
        // Pieces, and files that programs read.
        let local =
            |object: &Value| object["apiVersion"].as_str().is_none_or(|it| it.starts_with("kubescheduler.config"));
        if objects.iter().any(local) {
            return;
        }
        let answer = self.shell("kubectl apply --dry-run=server -f -", &text).await;
        assert!(answer.status.success(), "{place}: {}", String::from_utf8_lossy(&answer.stderr));
        for object in objects {
            if let Some(pools) = object["data"]["floatingips"].as_str() {
                let pools = galaxy_api::config::parse_pools(pools).unwrap_or_else(|error| panic!("{place}: {error}"));
                galaxy_core::Topology::build(pools).unwrap_or_else(|error| panic!("{place}: {error}"));
            }
        }
    }
}

async fn check(name: &'static str) {
    let kubectl = std::process::Command::new("kubectl").args(["version", "--client"]).output();
    if !kubectl.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "SKIPPED: {name} was not checked, for there is no kubectl (Debian: apt-get install kubernetes-client)"
        );
        return;
    }
    let text = fs::read_to_string(root().join(name)).unwrap();
    let page = Page { name, world: World::start(Ports::default(), None, None).await.unwrap() };
    for block in blocks(&text) {
        match block.language.as_str() {
            "console" => page.console(&block).await,
            "yaml" => page.yaml(&block).await,
            "json" => {
                let json: Result<Value, _> = serde_json::from_str(&block.lines.join("\n"));
                assert!(json.is_ok(), "{name}:{}: {json:?}", block.line);
            }
            _ => {}
        }
    }
    page.world.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_is_true() {
    check("README.md").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_concepts_are_true() {
    check("docs/concepts.md").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_true() {
    check("docs/configuration.md").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_installation_is_true() {
    check("docs/install.md").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_guide_is_true() {
    check("docs/operate.md").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_from_the_original_and_back_is_true() {
    check("docs/migrate-from-galaxy.md").await;
}

/// Links to files of the repository lead somewhere, and files named in code style too.
#[test]
fn links_lead_somewhere() {
    let pattern = regex::Regex::new(r"\]\(([^)#:]+)(#[^)]*)?\)").unwrap();
    for page in [
        "README.md",
        "ARCHITECTURE.md",
        "docs/concepts.md",
        "docs/configuration.md",
        "docs/install.md",
        "docs/migrate-from-galaxy.md",
        "docs/operate.md",
        "docs/sandbox.md",
    ] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let folder = Path::new(page).parent().unwrap();
        for link in pattern.captures_iter(&text) {
            let target = root().join(folder).join(&link[1]);
            assert!(target.exists(), "{page}: {} does not exist", &link[1]);
        }
    }
}

/// The table of folders in ARCHITECTURE.md is the folders there are.
#[test]
fn the_map_names_every_crate() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let crates = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| format!("crates/{}", entry.unwrap().file_name().display()));
    for name in crates.chain(["e2e".to_owned(), "e2e/nodes".to_owned(), "e2e/plane".to_owned(), "xtask".to_owned()]) {
        assert!(map.contains(&format!("| `{name}` |")), "{name} is missing");
    }
    let named = regex::Regex::new(r"`((?:crates|xtask|deploy|docs|examples|e2e)[\w/.-]*)`").unwrap();
    for path in named.captures_iter(&map) {
        assert!(root().join(&path[1]).exists(), "{} does not exist", &path[1]);
    }
}
