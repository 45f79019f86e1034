//! User-mode Linux: a kernel as a program, on the files of this machine, with VLANs and ipvlans.

use std::{
    env, fs,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// Set inside.
const INSIDE: &str = "GALAXY_CNI_TEST_UML";

/// Longest time for all tests inside: minutes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(1500);

/// Whether this process runs in user-mode Linux.
pub(crate) fn inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// First program of the machine. Nothing that it mounts is seen outside.
const INIT: &str = r#"
exec > "$LOG" 2>&1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mkdir -p /run/kernel/lib /run/tmp
ln -s /usr/lib/uml/modules /run/kernel/lib/modules
for module in 8021q ipvlan macvlan bridge veth; do modprobe -d /run/kernel "$module"; done
TMPDIR=/run/tmp "$TESTS" tagged:: --test-threads=1
echo "exit status $?"
echo o > /proc/sysrq-trigger
sleep 60
"#;

/// VLANs (802.1Q) and ipvlans, which many kernels lack.
#[test]
fn vlans_and_ipvlans_in_user_mode_linux() {
    if inside() {
        return;
    }
    let program = env::current_exe().unwrap();
    let list = Command::new(&program).args(["tagged::", "--list"]).output().unwrap();
    let count = String::from_utf8(list.stdout).unwrap().lines().filter(|line| line.ends_with(": test")).count();
    if !is_installed() {
        let line =
            format!("\nSKIPPED {count} tests of galaxy-cni with VLANs and ipvlans: install user-mode-linux and kmod\n");
        let _ = io::stderr().write_all(line.as_bytes());
        return;
    }
    let dir = env::temp_dir().join(format!("galaxy-cni-uml-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let (init, log) = (dir.join("init"), dir.join("log"));
    let quoted = |path: &Path| format!("'{}'", path.display());
    let head = format!(
        "export {INSIDE}=1 PATH=/usr/sbin:/usr/bin:/sbin:/bin\nLOG={}\nTESTS={}",
        quoted(&log),
        quoted(&program)
    );
    fs::write(&init, head + INIT).unwrap();
    let mut machine = Machine(
        Command::new("linux.uml")
            .args(["rootfstype=hostfs", "rootflags=/", "rw", "mem=512M", "quiet", "con=null", "con0=null,null"])
            .args(["init=/bin/sh", "--"])
            .arg(&init)
            .env("HOME", &dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap(),
    );
    let ended = machine.ends_within(PATIENCE);
    drop(machine);
    let said = fs::read_to_string(&log).unwrap_or_default();
    let _ = fs::remove_dir_all(&dir);
    let passed = said.contains(&format!("test result: ok. {count} passed; 0 failed;"));
    assert!(ended && passed, "ended: {ended}; {count} tests in user-mode Linux:\n{said}");
}

fn is_installed() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = |name: &str| env::split_paths(&path).any(|folder| folder.join(name).is_file());
    found("linux.uml")
        && Path::new("/usr/lib/uml/modules").is_dir()
        && (found("modprobe") || Path::new("/sbin/modprobe").exists())
}

/// The kernel with all its helper processes.
struct Machine(Child);

impl Machine {
    fn ends_within(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if self.0.try_wait().unwrap().is_some() {
                return true;
            }
            thread::sleep(Duration::from_millis(50));
        }
        false
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Ok(id) = i32::try_from(self.0.id()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
        let _ = self.0.wait();
    }
}
