"""Run by the build user in a unit of its own: fetch the source, and print its revision.

The environment says what: FETCH_GIT and FETCH_REF, or FETCH_ARCHIVE and FETCH_CHECKSUM. FETCH_KEY
is the file of a deploy key, if there is one, and FETCH_KNOWN_HOSTS has lines of known_hosts(5).
FETCH_SIGNERS has public keys, one of which must have signed the commit or its tag. FETCH_CHECK asks
for the revision alone. HOME holds the clone, or the archive. FETCH_MIRRORS asks for copies of
repositories that packages come from: the step that builds packages has no key, and takes them from
there. A login in a URL reaches git through its environment: a command line and the configuration of
the clone would show it.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterable
from http.client import HTTPMessage
from pathlib import Path
from typing import IO

TIMEOUT = 60  # seconds that a server gets to answer
HOME = Path.home()
REPOSITORY = HOME / "repository"
ARCHIVE = HOME / "source.tar"
MIRRORS = HOME / "mirrors"
KNOWN_HOSTS = HOME / "known_hosts"
SIGNERS = HOME / "signers"
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
HELPER = '!printf "username=%s\\npassword=%s\\n" "$FETCH_USER" "$FETCH_PASSWORD" #'


def git(*arguments: str, check: bool = True, settings: Iterable[str] = ()) -> str:
    """Return what git prints; end with its message if it fails."""
    options = [word for setting in settings for word in ("-c", setting)]
    done = subprocess.run(
        ["git", *options, *arguments], text=True, stdout=subprocess.PIPE, check=False
    )
    if check and done.returncode:
        raise SystemExit(f"git {arguments[0]} failed")
    return done.stdout if not done.returncode else ""


def without_login(url: str) -> str:
    """Return a URL of HTTP without its user and password, which go to git's environment.

    git asks for them for this server only: a redirect or a submodule may lead to another one.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return url
    login, _sep, host = parts.netloc.rpartition("@")
    user, _sep, password = login.partition(":")
    count = int(os.environ.get("GIT_CONFIG_COUNT", "0"))  # app_install_environment may have some
    os.environ |= {
        "FETCH_USER": urllib.parse.unquote(user),
        "FETCH_PASSWORD": urllib.parse.unquote(password),
        "GIT_CONFIG_COUNT": str(count + 1),
        f"GIT_CONFIG_KEY_{count}": f"credential.{parts.scheme}://{host}.helper",
        f"GIT_CONFIG_VALUE_{count}": HELPER,
    }
    return parts._replace(netloc=host).geturl()


def use_ssh() -> None:
    """Have git use SSH with the deploy key, and trust the hosts that are given.

    Without those it trusts a host at first sight, and then no other key of it.
    """
    known, strict = KNOWN_HOSTS, "accept-new"
    if lines := os.environ.get("FETCH_KNOWN_HOSTS"):
        known, strict = KNOWN_HOSTS.with_suffix(".given"), "yes"
        known.write_text(f"{lines}\n")
    options = ["-o", f"StrictHostKeyChecking={strict}", "-o", "BatchMode=yes"]
    options += ["-o", f"UserKnownHostsFile={known}", "-o", f"ConnectTimeout={TIMEOUT}"]
    if os.environ.get("FETCH_KEY"):
        options += ["-i", os.environ["FETCH_KEY"], "-o", "IdentitiesOnly=yes"]
    os.environ["GIT_SSH_COMMAND"] = " ".join(["ssh", *options])
    os.environ["GIT_TERMINAL_PROMPT"] = "0"


def clone(url: str, ref: str) -> str:
    """Bring the clone to a branch, a tag or a commit of a repository; return the commit."""
    use_ssh()
    url = without_login(url)
    # A server that TLS has proved must not send git to one that anybody can play.
    settings = ["protocol.http.allow=never"] if url.startswith("https:") else []
    if os.environ.get("FETCH_CHECK"):
        names = [ref, f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}"]
        listed = git("ls-remote", url, *names, settings=settings).split()
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
    git("fetch", "--quiet", "--force", "--prune", url, *every, settings=settings)
    names = [f"refs/remotes/origin/{ref}", f"refs/tags/{ref}", ref]
    if ref == "HEAD":
        names = ["refs/remotes/head"]
    elif COMMIT.fullmatch(ref):  # a server must not give another commit by this name
        names = [ref]
    for name in names:
        commit = git("rev-parse", "--quiet", "--verify", f"{name}^{{commit}}", check=False).strip()
        if commit:
            break
    else:
        git("fetch", "--quiet", url, ref, settings=settings)
        name, commit = "", git("rev-parse", "--verify", "FETCH_HEAD^{commit}").strip()
    if keys := os.environ.get("FETCH_SIGNERS"):
        verify(commit, name.partition("refs/tags/")[2], keys.splitlines())
    git("checkout", "--quiet", "--force", "--detach", commit)
    # Relative URLs of submodules start from this; an earlier version may have left a login in it.
    git("config", "remote.origin.url", url)
    if Path(".gitmodules").exists():
        git("submodule", "--quiet", "sync", "--recursive")
        git("submodule", "--quiet", "update", "--init", "--recursive", "--force")
    return commit


def verify(commit: str, tag: str, keys: list[str]) -> None:
    """End unless one of the keys has signed a commit or the tag that names it.

    A server could show an old tag under the name of a new one, so that the name in the tag counts.

    Args:
        commit: what is deployed.
        tag: the name of the tag that was asked for; empty if it was none.
        keys: public keys of SSH.
    """
    SIGNERS.write_text("".join(f'* namespaces="git" {key}\n' for key in keys))
    signers = [f"gpg.ssh.allowedSignersFile={SIGNERS}", "gpg.ssh.revocationFile="]
    programs = ["gpg.ssh.program=ssh-keygen", "gpg.program=false", "gpg.x509.program=false"]
    settings = [word for each in (*signers, *programs) for word in ("-c", each)]
    asked = [["verify-commit", commit]]
    if tag:
        header = git("cat-file", "-p", f"refs/tags/{tag}").partition("\n\n")[0]
        if f"tag {tag}" in header.splitlines():
            asked.insert(0, ["verify-tag", f"refs/tags/{tag}"])
    told = ""
    for words in asked:
        command = ["git", "--no-replace-objects", *settings, *words]
        done = subprocess.run(command, text=True, capture_output=True, check=False)
        if done.returncode == 0:
            return
        told += done.stderr
    print(told.strip(), file=sys.stderr)
    raise SystemExit(
        f"app_signing_keys: none of these keys has signed the commit {commit}"
        + (f" or the tag {tag}" if tag else "")
        + ". Sign it (git tag -s, git commit -S), or add the key of who has signed it."
    )


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


class OnlyEncrypted(urllib.request.HTTPRedirectHandler):
    """Follows no redirect from HTTPS to what anybody on the way can change."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the next request.

        Raises:
            OSError: it would not be encrypted.
        """
        if req.type == "https" and not newurl.startswith("https:"):
            raise OSError("the server redirects to an address without HTTPS")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, checksum: str) -> str:
    """Download an archive; return the digest of its content."""
    parts = urllib.parse.urlsplit(url)
    opener = urllib.request.build_opener(*([] if checksum else [OnlyEncrypted]))
    if "@" in parts.netloc:
        login, _sep, host = parts.netloc.rpartition("@")
        user, _sep, password = (urllib.parse.unquote(part) for part in login.partition(":"))
        url = parts._replace(netloc=host).geturl()
        passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
        passwords.add_password(None, url, user, password, is_authenticated=True)
        opener.add_handler(urllib.request.HTTPBasicAuthHandler(passwords))
    digest = hashlib.sha1(usedforsecurity=False)
    algorithm, _sep, wanted = checksum.lower().partition(":")
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
