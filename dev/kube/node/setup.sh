# Inside the node image while it is built: units, container runtime and the images it starts with.
# The steps are those of kind's images/base/Dockerfile; what differs says why.
set -eu
context=$1

units=/lib/systemd/system
rm -f $units/sysinit.target.wants/systemd-tmpfiles-setup.service $units/multi-user.target.wants/* \
    $units/local-fs.target.wants/* $units/sockets.target.wants/*udev* \
    $units/sockets.target.wants/*initctl* $units/basic.target.wants/* /etc/systemd/system/*.wants/*
echo 'ReadKMsg=no' >>/etc/systemd/journald.conf
systemctl enable kubelet.service containerd.service undo-mount-hacks.service
systemctl mask systemd-binfmt.service
ln -sf /usr/lib/systemd/systemd /sbin/init
ln -sf /usr/bin/containerd /usr/local/bin/containerd
rm -f /usr/sbin/policy-rc.d
: >/etc/machine-id

mkdir -p /etc/kubernetes/manifests /opt/cni/bin /lib/modules
for plugin in host-local loopback ptp portmap; do cp /usr/lib/cni/$plugin /opt/cni/bin/; done
for program in kubelet kubeadm kubectl; do ln -sf kube /usr/bin/$program; done

# Where CAP_SYS_RESOURCE is missing, runc can't lower oom_score_adj and every sandbox fails with
# "can't get final child's PID from pipe: EOF".
sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' /etc/containerd/config.toml
ctr oci spec |
    jq '.hooks.createContainer += [{"path": "/kind/bin/mount-product-files.sh"}]
        | del(.process.rlimits)' >/etc/containerd/cri-base.json

# The images that kubeadm and kind's manifests ask for: into the content store now, unpacked by
# each node; pinned, so that kubelet never collects what it could not pull again.
printf 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n' >/tmp/containerd.toml
containerd -c /tmp/containerd.toml >/tmp/containerd.log 2>&1 &
server=$!
tries=0
until ctr version >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || { cat /tmp/containerd.log; exit 1; }
    sleep 0.1
done
ctr -n k8s.io images import --no-unpack --all-platforms "$context/images.tar"
for image in $(ctr -n k8s.io images ls -q); do
    ctr -n k8s.io images label "$image" io.cri-containerd.pinned=pinned io.cri-containerd.image=managed
done
kill $server
wait $server || true
rm -rf /tmp/* /run/containerd /var/cache/apt/*.bin /var/lib/apt/lists/* /var/log/*.log
