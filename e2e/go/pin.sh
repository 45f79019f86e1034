#!/usr/bin/env bash
# Pins the Go modules that `cargo xtask cluster build` builds: writes go.mod and go.sum in the folders beside this file.
#   pin.sh            the newest releases of everything (this is how versions are updated; commit the result)
#   pin.sh WHAT...    only these: cni, containerd, etcd, kubelet, kwok, or a Kubernetes minor version such as 1.37
set -euo pipefail
cd "$(dirname "$0")"
export GOFLAGS=-mod=mod GOWORK=off

# newest MODULE VERSION-PREFIX: the newest release (no alpha, beta or rc) that the module proxy has.
newest() {
    go list -m -versions "$1" | tr ' ' '\n' | grep -E "^v${2//./\\.}\.[0-9]+(\.[0-9]+)?$" | sort -V | tail -n 1
}

# module FOLDER NAME: an empty go.mod there.
module() {
    mkdir -p "$1"
    printf 'module galaxy.test/%s\n\ngo 1.24.0\n' "$2" > "$1/go.mod"
    : > "$1/go.sum"
}

kubernetes() { # FOLDER MINOR PROGRAM...
    local folder=$1 version staging name
    version=$(newest k8s.io/kubernetes "$2")
    staging=v0.${version#v1.}
    shift 2
    module "$folder" "${folder%%-*}"
    (
        cd "$folder"
        go mod edit -require "k8s.io/kubernetes@$version"
        # Its own go.mod points the staging modules at folders of its repository; they are published under v0.
        for name in $(go mod edit -json "$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')" |
            sed -n '/"Replace"/,$ s/.*"Path": "\(k8s\.io\/[^"]*\)".*/\1/p'); do
            go mod edit -replace "$name=$name@$staging"
        done
        for name in "$@"; do
            go mod edit -tool "k8s.io/kubernetes/cmd/$name"
        done
        go mod tidy
    )
    echo "$folder: $version"
}

one() { # FOLDER MODULE VERSION-PREFIX PACKAGE...
    local folder=$1 module=$2 version package
    version=$(newest "$2" "$3")
    shift 3
    module "$folder" "$folder"
    (
        cd "$folder"
        go mod edit -require "$module@$version"
        for package in "$@"; do go mod edit -tool "$package"; done
        go mod tidy
    )
    echo "$folder: $version"
}

[ $# -gt 0 ] || set -- cni containerd etcd kubelet kwok 1.33 1.35 1.37
for what in "$@"; do
    case $what in
    cni) one cni github.com/containernetworking/cni 1 github.com/containernetworking/cni/cnitool ;;
    containerd)
        cmd=github.com/containerd/containerd/v2/cmd
        one containerd github.com/containerd/containerd/v2 2 $cmd/containerd $cmd/containerd-shim-runc-v2 $cmd/ctr
        ;;
    etcd) one etcd go.etcd.io/etcd/server/v3 3.6 go.etcd.io/etcd/server/v3 ;;
    kwok) one kwok sigs.k8s.io/kwok 0 sigs.k8s.io/kwok/cmd/kwok ;;
    # Of the newest version that is pinned.
    kubelet) kubernetes kubelet 1.37 kubelet ;;
    *) kubernetes "kubernetes-$what" "$what" kube-apiserver kube-controller-manager kube-scheduler kubectl ;;
    esac
done
