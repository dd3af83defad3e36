"""A source is fetched without a login on a command line, in git's configuration or in a message."""

import base64
import http.server
import os
import subprocess
import sys
import threading
import urllib.request

import pytest
from ansible_collections.clink.django_stack.plugins.module_utils import release_hints
from test_packages import FILES, fetch

TOKEN = "t0ken-of-the-tests"
LOGIN = f"Basic {base64.b64encode(f'{TOKEN}:'.encode()).decode()}"
ME = ["-c", "user.name=a", "-c", "user.email=a@example.com"]


def git(*words, where):
    done = subprocess.run(
        ["git", "-C", str(where), *ME, *words], text=True, capture_output=True, check=True
    )
    return done.stdout.strip()


class Server:
    """A server of repositories that asks for a login, and remembers the ones that it got."""

    def __init__(self, directory):
        logins = self.logins = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self):
                logins.append(self.headers["Authorization"])
                if logins[-1] == LOGIN:
                    return super().do_GET()
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="x"')
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), lambda *given: Handler(*given, directory=str(directory))
        )
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, login=""):
        return f"http://{login}127.0.0.1:{self.server.server_port}"


@pytest.fixture
def repositories(tmp_path):
    """A directory that servers show; it holds a repository."""
    directory = tmp_path / "repositories"
    publish(directory, tmp_path / "work", {"manage.py": ""})
    return directory


def publish(directory, work, files, name="clinic.git", *more):
    """Make a commit with files and publish its repository; return the commit."""
    if not work.exists():
        work.mkdir(parents=True)
        git("init", "--quiet", "--initial-branch=main", where=work)
    for file, text in files.items():
        (work / file).write_text(text)
    git("add", ".", where=work)
    for words in more:
        git(*words, where=work)
    git("commit", "--quiet", "--message=x", where=work)
    if not (directory / name).exists():
        directory.mkdir(exist_ok=True)
        git("init", "--quiet", "--bare", "--initial-branch=main", name, where=directory)
    git("push", "--quiet", str(directory / name), "main", where=work)
    git("update-server-info", where=directory / name)
    return git("rev-parse", "main", where=work)


@pytest.fixture
def serve(repositories):
    """Give a function that starts a server of the repositories."""
    servers = []

    def start():
        servers.append(Server(repositories))
        return servers[-1]

    yield start
    for each in servers:
        each.server.shutdown()
        each.server.server_close()


@pytest.fixture
def run(tmp_path):
    """Give a function that runs fetch.py, and returns its exit code and its output."""
    home = tmp_path / "home"
    home.mkdir()

    def fetched(url, ref="main", **more):
        environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        environment |= {"GIT_TRACE": str(tmp_path / "trace"), "FETCH_GIT": url, "FETCH_REF": ref}
        done = subprocess.run(
            [sys.executable, "-I", str(FILES / "fetch.py")],
            env=environment | more, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return done.returncode, done.stdout

    fetched.home, fetched.trace = home, tmp_path / "trace"
    return fetched


@pytest.mark.parametrize("login", [f"{TOKEN}@", f"{TOKEN}:@"])
def test_a_login_is_nowhere_to_be_seen(serve, run, repositories, login):
    git("init", "--quiet", "repository", where=run.home)
    old = run.home / "repository"  # as an earlier version may have left it
    git("config", "remote.origin.url", f"https://{TOKEN}@example.com/clinic.git", where=old)
    url = serve().url(login)
    outputs = [run(f"{url}/clinic.git")]
    outputs += [run(f"{url}/clinic.git", FETCH_CHECK="yes"), run(f"{url}/none.git")]
    assert [code for code, _ in outputs] == [0, 0, 1], outputs
    commit = git("rev-parse", "main", where=repositories / "clinic.git")
    assert [f"revision: {commit}" in output for _, output in outputs] == [True, True, False]
    texts = [output for _, output in outputs] + [run.trace.read_text()]
    texts += [path.read_text(errors="replace") for path in run.home.rglob("*") if path.is_file()]
    assert "git fetch" in run.trace.read_text()
    assert not [text for text in texts if TOKEN in text]


def test_a_login_is_for_its_server_only(serve, run, repositories, tmp_path):
    """A submodule of another server does not get it; one of the same server does."""
    one, other = serve(), serve()
    publish(repositories, tmp_path / "part", {"part.py": ""}, "part.git")
    add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add"]
    add += [str(repositories / "part.git"), "part"]
    modules = ["config", "--file=.gitmodules", "submodule.part.url"]
    work = tmp_path / "work"
    publish(repositories, work, {}, "clinic.git", add, [*modules, f"{other.url()}/part.git"],
            ["add", "."])  # fmt: skip
    url = f"{one.url(f'{TOKEN}@')}/clinic.git"
    code, output = run(url)
    assert code == 1 and other.url() in output
    assert other.logins and set(other.logins) == {None}
    publish(repositories, work, {}, "clinic.git", [*modules, "../part.git"], ["add", "."])
    assert run(url)[0] == 0
    assert (run.home / "repository" / "part" / "part.py").is_file()


def test_settings_of_git_in_app_install_environment_stay(serve, run):
    server = serve()
    settings = {"KEY_0": f"url.{server.url()}/.insteadOf", "VALUE_0": "http://short/"}
    more = {f"GIT_CONFIG_{key}": value for key, value in settings.items()}
    code, output = run(f"{server.url(f'{TOKEN}@')}/clinic.git", GIT_CONFIG_COUNT="1", **more)
    assert code == 0, output
    assert run(
        "http://short/clinic.git", GIT_CONFIG_COUNT="2", GIT_CONFIG_KEY_1="http.extraHeader",
        GIT_CONFIG_VALUE_1=f"Authorization: {LOGIN}", **more,
    )[0] == 0  # fmt: skip


def test_a_commit_is_no_branch_of_that_name(run, repositories, tmp_path):
    """The server decides what branches are; a commit is the same on every server."""
    url = f"file://{repositories}/clinic.git"
    first = git("rev-parse", "main", where=repositories / "clinic.git")
    second = publish(repositories, tmp_path / "work", {"other.py": ""})
    branch = repositories / "clinic.git" / "refs" / "heads" / first
    branch.write_text(f"{second}\n")
    assert run(url, first) == (0, f"step: fetch\nrevision: {first}\n")


@pytest.mark.parametrize(("url", "refused"), [("http://b/x", True), ("https://b/x", False)])
def test_a_redirect_from_https_leads_to_https(url, refused):
    request = urllib.request.Request("https://a/x")
    given = (request, None, 302, "Found", {}, url)
    if refused:
        with pytest.raises(OSError, match="without HTTPS"):
            fetch.OnlyEncrypted().redirect_request(*given)
    else:
        assert fetch.OnlyEncrypted().redirect_request(*given).full_url == url


def test_ssh_accepts_the_given_host_keys_and_no_others(monkeypatch, tmp_path):
    monkeypatch.setattr(fetch, "KNOWN_HOSTS", tmp_path / "known_hosts")
    monkeypatch.setattr(fetch.os, "environ", {})
    fetch.use_ssh()
    command = fetch.os.environ["GIT_SSH_COMMAND"]
    assert "StrictHostKeyChecking=accept-new" in command
    assert f"UserKnownHostsFile={tmp_path}/known_hosts " in command
    fetch.os.environ["FETCH_KNOWN_HOSTS"] = "a ssh-ed25519 AAAA\nb ssh-ed25519 BBBB"
    fetch.use_ssh()
    command = fetch.os.environ["GIT_SSH_COMMAND"]
    assert "StrictHostKeyChecking=yes" in command
    assert f"UserKnownHostsFile={tmp_path}/known_hosts.given " in command
    text = (tmp_path / "known_hosts.given").read_text()
    assert text == "a ssh-ed25519 AAAA\nb ssh-ed25519 BBBB\n"


# --- Signatures -----------------------------------------------------------------------------------


@pytest.fixture
def signed(tmp_path, monkeypatch):
    """A repository with signed and unsigned commits and tags; a function that verifies one."""
    for name in ("ada", "eve"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name]
        subprocess.run([*key, "-f", str(tmp_path / name)], check=True)
    work = tmp_path / "work"
    work.mkdir()
    git("init", "--quiet", "--initial-branch=main", where=work)

    def sign(name):
        return ["-c", "gpg.format=ssh", "-c", f"user.signingKey={tmp_path / name}"]

    def commit(text, *settings, options=()):
        (work / "manage.py").write_text(text)
        git("add", ".", where=work)
        git(*settings, "commit", "--quiet", *options, "-m", text, where=work)
        return git("rev-parse", "HEAD", where=work)

    commits = {
        "ada": commit("1", *sign("ada"), options=["-S"]),
        "eve": commit("2", *sign("eve"), options=["-S"]),
        "nobody": commit("3"),
    }
    git(*sign("ada"), "tag", "-s", "v1", "-m", "v1", where=work)  # of the commit of nobody
    git(*sign("eve"), "tag", "-s", "v2", "-m", "v2", where=work)
    git("tag", "-a", "v3", "-m", "v3", where=work)
    git("tag", "v4", where=work)
    git("update-ref", "refs/tags/v5", "refs/tags/v1", where=work)  # v1 under another name
    monkeypatch.setattr(fetch, "SIGNERS", tmp_path / "signers")
    monkeypatch.chdir(work)
    key = (tmp_path / "ada.pub").read_text().strip()

    def verify(name, tag=""):
        return fetch.verify(commits[name], tag, ["ssh-ed25519 AAAAC3Nz", key])

    return verify


def test_a_signed_commit_and_a_signed_tag_are_taken(signed):
    signed("ada")
    signed("ada", "v4")
    signed("nobody", "v1")


@pytest.mark.parametrize(
    ("name", "tag"),
    [("eve", ""), ("nobody", ""), *(("nobody", f"v{number}") for number in (2, 3, 4, 5))],
)
def test_what_no_key_has_signed_is_refused(signed, name, tag):
    with pytest.raises(SystemExit, match="app_signing_keys: none of these keys has signed"):
        signed(name, tag)


def test_a_replaced_commit_and_the_configuration_of_the_clone_help_nobody(signed, tmp_path):
    where = tmp_path / "work"
    heads = git("log", "--format=%H", where=where).split()
    git("replace", heads[0], heads[2], where=where)
    git("config", "gpg.program", "true", where=where)
    git("config", "gpg.ssh.program", "true", where=where)
    with pytest.raises(SystemExit):
        signed("nobody")


@pytest.mark.parametrize(
    ("ref", "taken"),
    [("v1", True), ("refs/tags/v1", True), ("main", False), ("v4", False), ("v5", False)],
)
def test_a_release_has_to_be_signed(signed, run, tmp_path, ref, taken):
    url, key = f"file://{tmp_path}/work", (tmp_path / "ada.pub").read_text().strip()
    assert run(url, ref)[0] == 0
    code, output = run(url, ref, FETCH_SIGNERS=key)
    assert (code == 0) is taken, output
    told = release_hints.explain("fetch", output)
    assert told.startswith("app_signing_keys: none of these keys") is not taken, told
