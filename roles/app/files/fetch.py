"""Run by the build user in a unit of its own: fetch the source, and print its revision.

The environment says what: FETCH_GIT and FETCH_REF, or FETCH_ARCHIVE and FETCH_CHECKSUM. FETCH_KEY
is the file of a deploy key, if there is one. FETCH_CHECK asks for the revision alone. HOME holds
the clone, or the archive. FETCH_MIRRORS asks for copies of repositories that packages come from:
the step that builds packages has no key, and takes them from there. A password in a URL reaches git
through its environment: a command line and the configuration of the clone would show it.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

TIMEOUT = 60  # seconds that a server gets to answer
HOME = Path.home()
REPOSITORY = HOME / "repository"
ARCHIVE = HOME / "source.tar"
MIRRORS = HOME / "mirrors"
HELPER = '!printf "username=%s\\npassword=%s\\n" "$FETCH_USER" "$FETCH_PASSWORD" #'


def git(*arguments: str, check: bool = True) -> str:
    """Return what git prints; end with its message if it fails."""
    done = subprocess.run(["git", *arguments], text=True, stdout=subprocess.PIPE)
    if check and done.returncode:
        raise SystemExit(f"git {arguments[0]} failed")
    return done.stdout if not done.returncode else ""


def without_login(url: str) -> str:
    """Return a URL of HTTP without its user and password, which go to git's environment."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return url
    login, _, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    os.environ |= {
        "FETCH_USER": urllib.parse.unquote(user),
        "FETCH_PASSWORD": urllib.parse.unquote(password),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "credential.helper",
        "GIT_CONFIG_VALUE_0": HELPER,
    }
    return parts._replace(netloc=host).geturl()


def use_ssh() -> None:
    """Have git use SSH with the deploy key, and trust a host at first sight."""
    options = ["-o", "StrictHostKeyChecking=accept-new", "-o", "BatchMode=yes"]
    options += ["-o", f"UserKnownHostsFile={HOME}/known_hosts", "-o", f"ConnectTimeout={TIMEOUT}"]
    if os.environ.get("FETCH_KEY"):
        options += ["-i", os.environ["FETCH_KEY"], "-o", "IdentitiesOnly=yes"]
    os.environ["GIT_SSH_COMMAND"] = " ".join(["ssh", *options])
    os.environ["GIT_TERMINAL_PROMPT"] = "0"


def clone(url: str, ref: str) -> str:
    """Bring the clone to a branch, a tag or a commit of a repository; return the commit."""
    use_ssh()
    url = without_login(url)
    if os.environ.get("FETCH_CHECK"):
        listed = git("ls-remote", url, ref, f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}").split()
        return listed[0] if listed else ref
    if not (REPOSITORY / "HEAD").exists() and not (REPOSITORY / ".git").exists():
        git("init", "--quiet", str(REPOSITORY))
    os.chdir(REPOSITORY)
    # What may be asked for by a name, and, where a server allows it, a commit that no branch has.
    every = [
        "+refs/heads/*:refs/remotes/origin/*",
        "+refs/tags/*:refs/tags/*",
        "+HEAD:refs/remotes/head",
    ]
    git("fetch", "--quiet", "--force", "--prune", url, *every)
    names = (
        ["refs/remotes/head"]
        if ref == "HEAD"
        else [f"refs/remotes/origin/{ref}", f"refs/tags/{ref}", ref]
    )
    for name in names:
        commit = git("rev-parse", "--quiet", "--verify", f"{name}^{{commit}}", check=False).strip()
        if commit:
            break
    else:
        git("fetch", "--quiet", url, ref)
        commit = git("rev-parse", "--verify", "FETCH_HEAD^{commit}").strip()
    git("checkout", "--quiet", "--force", "--detach", commit)
    if Path(".gitmodules").exists():
        git("config", "remote.origin.url", url)  # what relative URLs of submodules start from
        git("submodule", "--quiet", "sync", "--recursive")
        git("submodule", "--quiet", "update", "--init", "--recursive", "--force")
    return commit


def mirror(urls: list[str]) -> None:
    """Copy repositories, each to a directory with the digest of its URL as the name."""
    use_ssh()
    MIRRORS.mkdir(exist_ok=True)
    for url in urls:
        path = MIRRORS / hashlib.sha256(url.encode()).hexdigest()
        new = path.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        print(url, flush=True)
        git("clone", "--quiet", "--bare", "--", url, str(new))
        shutil.rmtree(path, ignore_errors=True)
        new.rename(path)


def download(url: str, checksum: str) -> str:
    """Download an archive; return the digest of its content."""
    parts = urllib.parse.urlsplit(url)
    opener = urllib.request.build_opener()
    if "@" in parts.netloc:
        login, _, host = parts.netloc.rpartition("@")
        user, _, password = (urllib.parse.unquote(part) for part in login.partition(":"))
        url = parts._replace(netloc=host).geturl()
        passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
        passwords.add_password(None, url, user, password, is_authenticated=True)
        opener.add_handler(urllib.request.HTTPBasicAuthHandler(passwords))
    digest = hashlib.sha1(usedforsecurity=False)
    algorithm, _, wanted = checksum.lower().partition(":")
    check = hashlib.new(algorithm) if checksum else None
    new = ARCHIVE.with_suffix(".new")
    with opener.open(url, timeout=TIMEOUT) as answer, new.open("wb") as file:
        while part := answer.read(1 << 20):
            digest.update(part)
            if check:
                check.update(part)
            file.write(part)
    if check and check.hexdigest() != wanted:
        raise SystemExit(f"The archive's {algorithm} is {check.hexdigest()}, not {wanted}")
    new.rename(ARCHIVE)
    return digest.hexdigest()


def main() -> None:
    """Fetch what the environment names."""
    if mirrors := os.environ.get("FETCH_MIRRORS"):
        print("step: repositories", flush=True)
        return mirror(mirrors.split())
    repository, archive = os.environ.get("FETCH_GIT"), os.environ.get("FETCH_ARCHIVE")
    if repository:
        print("step: fetch", flush=True)
        print("revision:", clone(repository, os.environ["FETCH_REF"]))
    elif archive:
        print("step: download", flush=True)
        try:
            print("revision:", download(archive, os.environ["FETCH_CHECKSUM"]))
        except OSError as error:
            told = re.sub(r"//[^/@]*@", "//", str(error))
            raise SystemExit(f"The archive cannot be downloaded: {told}") from None


if __name__ == "__main__":
    sys.exit(main())
