#!/bin/sh
# login.sh USER PASSWORD: a user who comes with the key of root, and whose sudo asks for the password.
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends sudo >/dev/null
useradd --create-home --shell /bin/bash --groups sudo "$1"
echo "$1:$2" | chpasswd
cp -a /root/.ssh "/home/$1"
chown -R "$1:" "/home/$1/.ssh"
