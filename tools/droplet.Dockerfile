# A blank Debian droplet as a container: what a cloud image has, and no more.
# BASE is Debian's own image, or what mmdebstrap made (tools/droplet.py).
ARG BASE
FROM ${BASE}

# Images for containers change how apt and dpkg behave and forbid services to
# start; a droplet's do not.
RUN rm -f /usr/sbin/policy-rc.d /etc/dpkg/dpkg.cfg.d/docker-apt-speedup \
        /etc/apt/apt.conf.d/docker-*

# A cloud image is weeks old: by the lists' date Ansible's apt module decides whether to update.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates dbus iproute2 openssh-server procps python3 python3-apt sudo systemd-sysv \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_*_key* \
    && : >/etc/machine-id \
    && touch --date=@0 /var/lib/apt/lists

# A cloud image makes its host keys on the first boot; there cloud-init does it.
RUN printf '%s\n' '[Unit]' 'ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key' \
        'Before=ssh.service' '[Service]' 'Type=oneshot' 'ExecStart=/usr/bin/ssh-keygen -A' \
        '[Install]' 'WantedBy=ssh.service' >/etc/systemd/system/droplet-host-keys.service \
    && systemctl enable droplet-host-keys.service \
    && printf 'PermitRootLogin prohibit-password\nPasswordAuthentication no\n' \
        >/etc/ssh/sshd_config.d/50-cloud-init.conf

# What needs hardware, or a console that a container has not.
RUN systemctl mask systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket \
        systemd-udev-trigger.service getty.target console-getty.service systemd-logind.service \
        dev-hugepages.mount sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount

ENV container=docker
STOPSIGNAL SIGRTMIN+3
EXPOSE 22
CMD ["/sbin/init"]
