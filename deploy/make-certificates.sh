#!/usr/bin/env bash
# Makes an authority, a certificate for galaxy-ipam and one for kube-scheduler in FOLDER, valid for DAYS (365). Needs openssl 3.
# An authority that is there already is used again: so certificates are renewed.
set -euo pipefail
folder=${1:?usage: make-certificates.sh FOLDER [DAYS]} days=${2:-365}
mkdir -p "$folder"
cd "$folder"
umask 077
key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
if [ ! -f ca.key ]; then
    openssl req -x509 "${key[@]}" -keyout ca.key -out ca.crt -days 3650 -subj /CN=galaxy-ca \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>/dev/null
fi
# galaxy-ipam serves with its certificate, and shows it to its other replica: the first DNS name must be the same in all replicas.
sign() { # file, common name, usages, more extensions
    openssl req -new "${key[@]}" -keyout "$1.key" -out "$1.csr" -subj "/CN=$2" 2>/dev/null
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -out "$1.crt" -days "$days" \
        -extfile <(printf 'extendedKeyUsage=%s\n%b' "$3" "${4:-}") 2>/dev/null
    rm "$1.csr"
}
sign tls galaxy-ipam serverAuth,clientAuth \
    'subjectAltName=DNS:galaxy-ipam.kube-system.svc,DNS:galaxy-ipam.kube-system.svc.cluster.local,DNS:localhost,IP:127.0.0.1\n'
sign scheduler galaxy-scheduler clientAuth
echo "$folder: ca.crt, tls.crt, tls.key (galaxy-ipam), scheduler.crt, scheduler.key (kube-scheduler); keep ca.key in a safe place"
