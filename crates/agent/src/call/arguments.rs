//! `CNI_ARGS` for the plugins of a pod.

use galaxy_api::{
    annotation::{IpInfo, PodArgs},
    names::{ARGS_ANNOTATION, CNI_ARGS_IPINFOS},
};

/// Says that a plugin may pass over what it does not know, and what the runtime says about the pod.
fn is_reserved(name: &str) -> bool {
    name.eq_ignore_ascii_case("IgnoreUnknown") || name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("K8S_"))
}

/// The runtime's own arguments, the confirmed addresses, and the other members of `common`, each value as JSON text.
///
/// # Errors
/// A member's name cannot be passed on.
pub(super) fn arguments(runtime: &str, args: &PodArgs, confirmed: &[IpInfo]) -> Result<String, String> {
    let of_runtime = runtime.split(';').map(str::trim).filter(|pair| !pair.is_empty());
    let not_ours = of_runtime.filter(|pair| pair.split('=').next().map(str::trim) != Some(CNI_ARGS_IPINFOS));
    let mut pairs: Vec<String> = not_ours.map(str::to_owned).collect();
    for (name, value) in args.common() {
        if name.eq_ignore_ascii_case(CNI_ARGS_IPINFOS) {
            continue;
        }
        if name.is_empty() || is_reserved(name) || name.contains([';', '=', '\0']) || name.trim() != name {
            return Err(format!(
                "annotation {ARGS_ANNOTATION}: common.{name:?} cannot be passed to plugins; rename it"
            ));
        }
        pairs.push(format!("{name}={}", one_value(value)));
    }
    if !confirmed.is_empty() {
        let infos = serde_json::to_string(confirmed).map_err(|error| error.to_string())?;
        pairs.push(format!("{CNI_ARGS_IPINFOS}={infos}"));
    }
    Ok(pairs.join(";"))
}

/// JSON whose semicolons, which can only be within strings, are escaped, and whose line breaks, which cannot, are blanks.
fn one_value(json: &str) -> String {
    json.replace(['\n', '\r', '\t'], " ").replace(';', "\\u003b")
}

#[cfg(test)]
mod tests {
    use galaxy_cni::spec::Args;

    use super::*;

    const RUNTIME: &str = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-2;ipinfos=[1]";

    #[test]
    fn members_of_common_become_arguments() {
        let annotation = r#"{"request_ip_range":[["10.0.0.1"]],"common":{"ipinfos":[{"ip":"10.9.9.9/8"}],"note":"a;b=c",
            "more":{"x":
            1}}}"#;
        let args = PodArgs::parse(annotation).unwrap();
        let info = IpInfo { ip: "10.0.0.5/24".parse().unwrap(), vlan: 7, gateway: "10.0.0.1".parse().unwrap() };
        let text = arguments(RUNTIME, &args, &[info]).unwrap();
        let read = Args::parse(&text);
        assert_eq!(read.get("K8S_POD_NAME"), Some("cart-2"));
        assert_eq!(read.get("ipinfos"), Some(r#"[{"ip":"10.0.0.5/24","vlan":7,"gateway":"10.0.0.1"}]"#));
        assert_eq!(text.matches("ipinfos").count(), 1, "{text}");
        let note: String = serde_json::from_str(read.get("note").unwrap()).unwrap();
        assert_eq!(note, "a;b=c");
        assert_eq!(serde_json::from_str::<serde_json::Value>(read.get("more").unwrap()).unwrap()["x"], 1);
    }

    /// A user cannot speak for the runtime.
    #[test]
    fn members_that_would_be_something_else_are_refused() {
        for name in ["K8S_POD_NAME", "k8s_pod_uid", "IgnoreUnknown", "a;b", "a=b", "", " a"] {
            let annotation = serde_json::json!({ "common": { name: 1 } }).to_string();
            let error = arguments(RUNTIME, &PodArgs::parse(&annotation).unwrap(), &[]).unwrap_err();
            assert!(error.contains("common."), "{error}");
        }
    }
}
