# Process 1 of a node, in network, mount, UTS, IPC and pid namespaces of its own: NAME ADDRESS GATEWAY FOLDER LOGS
set -e
name=$1 address=$2 gateway=$3 folder=$4 logs=$5
mount --make-rprivate /
# What a node keeps over a reboot. Only the changes: its programs are the machine's.
for top in etc opt var; do
    mkdir -p "$folder/$top" "$folder/$top.work"
    mount -t overlay overlay -o "lowerdir=/$top,upperdir=$folder/$top,workdir=$folder/$top.work" "/$top"
done
mkdir -p /var/lib/containerd /var/lib/kubelet /var/log /var/tmp "$folder/containerd" "$folder/kubelet"
# No overlay: containerd makes overlays on it.
mount --bind "$folder/containerd" /var/lib/containerd
mount --bind "$folder/kubelet" /var/lib/kubelet
mount --bind "$logs" /var/log
# What it does not.
mount -t tmpfs tmpfs /run
# kubelet wants these settings of the whole machine: it is shown files that hold what it wants.
mkdir /run/sysctl
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    file=/run/sysctl/$(echo "${setting%=*}" | tr / .)
    echo "${setting#*=}" > "$file"
    mount --bind "$file" "/proc/sys/${setting%=*}"
done
mount --make-rshared /
hostname "$name"
ip link set lo up
until ip link show eth0 > /dev/null 2>&1; do sleep 0.02; done
ip addr add "$address/24" dev eth0
ip link set eth0 up
ip route add default via "$gateway"
! [ -e /proc/sys/net/bridge ] || echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables
echo 1 > /proc/sys/net/ipv4/ip_forward
touch /run/up
# Takes the ends of processes whose parents are gone; without children of its own there is nothing to wait for.
set +e
while :; do wait -n || sleep 0.2; done
