use super::*;

fn parse(args: &[&str]) -> Result<Options, clap::Error> {
    Options::parse_args(std::iter::once("galaxy-ipam").chain(args.iter().copied()).map(OsString::from))
}

#[test]
fn the_command_is_sound() {
    Options::command().debug_assert();
}

#[test]
fn defaults_are_those_of_the_original() {
    let options = parse(&[]).unwrap();
    assert_eq!(options.bind, "0.0.0.0".parse::<IpAddr>().unwrap());
    assert_eq!((options.port, options.api_port), (9040, 9041));
    assert_eq!((options.master.as_str(), options.kubeconfig.as_str()), ("", ""));
    assert_eq!(options.config.to_str(), Some("/etc/galaxy/galaxy-ipam.json"));
    assert!(options.leader_elect && !options.swagger);
    let seconds = [options.lease_duration, options.renew_deadline, options.retry_period].map(|d| d.as_secs());
    assert_eq!(seconds, [15, 10, 2]);
    assert_eq!((options.reuse_delay.as_secs(), options.quarantine.as_secs()), (60, 600));
    assert_eq!((options.wake, options.log_format), (Wake::Condition, LogFormat::Text));
    assert!(options.pool_namespaces.is_empty() && options.notes.is_empty());
}

#[test]
fn flags_as_go_reads_them() {
    type Check = fn(&Options) -> bool;
    let table: &[(&[&str], Check)] = &[
        (&["--leader-elect=false"], |o| !o.leader_elect),
        (&["--leader_elect=F"], |o| !o.leader_elect),
        (&["--leader-elect"], |o| o.leader_elect),
        (&["--swagger"], |o| o.swagger),
        (&["--swagger=true", "--port=1"], |o| o.swagger && o.port == 1),
        (&["--swagger", "--port", "1"], |o| o.swagger && o.port == 1),
        (&["--api_port=0", "--port=0"], |o| o.api_port == 0 && o.port == 0),
        (&["--bind", "127.0.0.1"], |o| o.bind.is_loopback()),
        (&["--bind=::1"], |o| o.bind.is_ipv6()),
        (&["--leader-elect-lease-duration=1m30s"], |o| o.lease_duration.as_secs() == 90),
        (&["--leader_elect_renew_deadline", "5s"], |o| o.renew_deadline.as_secs() == 5),
        (&["--reuse-delay=0"], |o| o.reuse_delay.is_zero()),
        (&["--pool-namespaces=kube-system,shop"], |o| o.pool_namespaces == ["kube-system", "shop"]),
        (&["--wake=annotation"], |o| o.wake == Wake::Annotation),
        (&["--log-format=json", "--log-level=info,galaxy_ipam=debug"], |o| o.log_format == LogFormat::Json),
        (&["--kubeconfig=/a_b/c_d", "--master="], |o| o.kubeconfig == "/a_b/c_d"),
        (&["--master=https://10.0.0.1:6443"], |o| o.master == "https://10.0.0.1:6443"),
    ];
    for (args, check) in table {
        let options = parse(args).unwrap_or_else(|error| panic!("{args:?}: {error}"));
        assert!(check(&options), "{args:?} gave {options:?}");
        assert!(options.notes.is_empty(), "{args:?}");
    }
}

#[test]
fn legacy_flags_are_accepted_with_a_note_each() {
    let table: &[(&[&str], usize)] = &[
        (&["--v=4"], 1),
        (&["--v", "4", "--port=7"], 1),
        (&["-v=4"], 1),
        (&["-v", "4", "--port=7"], 1),
        (&["-v4"], 1),
        (&["--logtostderr"], 1),
        (&["--logtostderr=true", "--alsologtostderr", "--port=7"], 2),
        (&["--log_dir=/var/log", "--log-dir", "/var/log", "--vmodule=a=1"], 3),
        (&["--profiling=false", "--log-flush-frequency=5s", "--stderrthreshold", "2"], 3),
        (&["--skip_headers", "--skip_log_headers", "--add_dir_header", "--one_output"], 4),
        (&["--log_file=x", "--log_file_max_size=1", "--log_backtrace_at=a.go:1"], 3),
        (&["--leader-elect-resource-lock=endpointsleases"], 1),
    ];
    for (args, notes) in table {
        let options = parse(args).unwrap_or_else(|error| panic!("{args:?}: {error}"));
        assert_eq!(options.notes.len(), *notes, "{args:?}: {:?}", options.notes);
        assert!(options.notes.iter().all(|note| note.starts_with("--") && note.contains("no effect")));
        assert_eq!(options.port, if args.contains(&"--port=7") { 7 } else { 9040 });
    }
}

#[test]
fn wrong_flags_say_what_is_wrong_and_exit_with_2() {
    let table: &[(&[&str], &[&str])] = &[
        (&["--prot=1"], &["--prot", "--port"]),
        (&["--port=70000"], &["--port", "70000"]),
        (&["--port"], &["--port"]),
        (&["--bind=localhost"], &["--bind", "localhost"]),
        (&["--leader-elect=maybe"], &["--leader-elect", "maybe", "not true or false"]),
        (&["--leader-elect", "false"], &["false"]),
        (&["--quarantine=10"], &["--quarantine", "10", "unit is missing"]),
        (&["--reuse-delay=-1s"], &["--reuse-delay", "-1s", "negative"]),
        (&["--wake=phone"], &["--wake", "phone", "annotation"]),
        (&["--log-format=xml"], &["--log-format", "xml", "json"]),
        (&["--log-level=loud"], &["--log-level", "loud", "debug"]),
        (&["--pool-namespaces=Shop"], &["--pool-namespaces", "Shop"]),
        (&["--leader-elect-resource-lock=paper"], &["paper"]),
        (&["--leader-elect-renew-deadline=15s"], &["--leader-elect-renew-deadline=15s", "less than"]),
        (&["--leader-elect-retry-period=10s"], &["--leader-elect-retry-period=10s", "less than"]),
        (&["--leader-elect-retry-period=0"], &["more than 0"]),
        (&["--leader-elect-lease-duration=0"], &["at least 1s"]),
        (&["--port=9041"], &["--port and --api-port are both 9041"]),
        (&["--tls-cert-file=a.crt"], &["--tls-cert-file=a.crt needs --tls-private-key-file"]),
        (&["--tls-private-key-file=a.key"], &["--tls-private-key-file=a.key needs --tls-cert-file"]),
        (&["--client-ca-file=ca.crt"], &["--client-ca-file=ca.crt needs --tls-cert-file"]),
        (
            &["--tls-cert-file=a", "--tls-private-key-file=b", "--client-allowed-names=x"],
            &["--client-allowed-names=x needs --client-ca-file"],
        ),
        (
            &["--tls-cert-file=a", "--tls-private-key-file=b", "--client-ca-file=c", "--client-allowed-names=x,,y"],
            &["--client-allowed-names=x,,y has an empty name"],
        ),
        (&["--api-auth=maybe"], &["--api-auth", "maybe", "kubernetes"]),
        (&["serve"], &["serve"]),
        (&["-x"], &["-x"]),
    ];
    for (args, words) in table {
        let error = parse(args).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.exit_code(), 2, "{args:?}: {text}");
        assert!(words.iter().all(|word| text.contains(word)), "{args:?}: {text}");
    }
}

#[test]
fn help_and_version_are_no_failures() {
    for (args, words) in [
        (["--help"], ["Leader election:", "--reuse-delay"]),
        (["-h"], ["Serving:", "--api-port"]),
        (["--version"], ["galaxy-ipam", env!("CARGO_PKG_VERSION")]),
    ] {
        let answer = parse(&args).unwrap_err();
        assert_eq!(answer.exit_code(), 0, "{args:?}");
        assert!(words.iter().all(|word| answer.to_string().contains(word)), "{args:?}: {answer}");
    }
    let help = Options::help_text();
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
}

#[test]
fn the_api_is_guarded_unless_told_otherwise() {
    assert_eq!(parse(&[]).unwrap().access, Access::default());
    assert_eq!(parse(&[]).unwrap().access.api_auth, ApiAuth::Kubernetes);
    assert_eq!(parse(&["--api_auth=none"]).unwrap().access.api_auth, ApiAuth::None);
    assert_eq!(parse(&["--bind-address=127.0.0.1"]).unwrap().bind.to_string(), "127.0.0.1");
}
