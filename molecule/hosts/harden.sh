#!/bin/bash
# harden.sh USER PASSWORD: a host as CIS' benchmark wants it, and what it looked like, for the tests to compare.
# Later connections come by this user, whose sudo is sudo-rs and asks for the password.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends fail2ban nftables python3-systemd sudo-rs ufw >/dev/null

useradd --create-home --shell /bin/sh --groups sudo "$1"
echo "$1:$2" | chpasswd
install -d -m 700 -o "$1" -g "$1" "/home/$1/.ssh"
install -m 600 -o "$1" -g "$1" /root/.ssh/authorized_keys "/home/$1/.ssh/authorized_keys"
ln -s /usr/lib/cargo/bin/sudo /usr/local/bin/sudo # the first of the path

sed -i 's/^UMASK.*/UMASK 077/' /etc/login.defs
for file in common-session common-session-noninteractive; do
    echo 'session optional pam_umask.so umask=077' >>/etc/pam.d/$file
done

cat >/etc/ssh/sshd_config.d/10-hardened.conf <<END
PermitRootLogin no
PasswordAuthentication no
AllowUsers $1
AllowTcpForwarding no
ClientAliveInterval 60
LoginGraceTime 20
MaxAuthTries 2
MaxSessions 2
MaxStartups 5:50:20
KexAlgorithms curve25519-sha256
END
chmod 600 /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*
chmod 700 /etc/ssh/sshd_config.d
systemctl reload ssh

echo 'kernel.yama.ptrace_scope = 2' >/etc/sysctl.d/60-hardened.conf

cat >/etc/fail2ban/jail.d/hardened.conf <<'END'
[DEFAULT]
bantime = 1d
bantime.maxtime = 52w
[sshd]
backend = systemd
maxretry = 2
END

ufw allow in on lo >/dev/null
for network in 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16; do
    ufw allow from $network to any port 22 proto tcp >/dev/null
done
ufw logging medium >/dev/null
ufw --force enable >/dev/null

mkdir /root/before
sshd -T | sort >/root/before/sshd
ufw status verbose >/root/before/ufw
find /etc /usr /opt /var/lib -xdev \( -type f -o -type d \) -printf '%m %p\n' | sort -k 2 >/root/before/modes
