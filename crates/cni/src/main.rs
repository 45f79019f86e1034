//! Galaxy's CNI plugins: one program, called by the name of the plugin.

use std::process::ExitCode;

fn main() -> ExitCode {
    galaxy_cni::run(std::env::args_os())
}
