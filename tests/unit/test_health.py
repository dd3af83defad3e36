"""What is wrong with a site, as its visitors see it: pages, redirects, files."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.clink.django_stack.plugins.module_utils import health
from ansible_collections.clink.django_stack.plugins.module_utils.health import Answer

HTTP = {
    "name": "example.com", "names": ["example.com", "www.example.net", "*.example.org"],
    "path": "/", "scheme": "http", "socket": "/run/g.sock", "proxied": False, "files": {},
}  # fmt: skip
HTTPS = HTTP | {"scheme": "https"}


def to(url, status=302, *cookies):
    return Answer(status, "Found", "", url, cookies)


@pytest.fixture
def pages(monkeypatch):
    """Give a dictionary of answers by their URLs; gunicorn's begin with its name."""
    told = {}

    def answer_of(via, name, path, scheme="https", cookie=""):
        url = f"{'gunicorn ' if via == '/run/g.sock' else ''}{scheme}://{name}{path}"
        answer = told.get(f"{url} {cookie}".strip(), told.get(url))
        if answer is None:
            raise OSError(f"nobody answers {url}")
        return answer

    monkeypatch.setattr(health, "nginx", lambda name, scheme: "nginx")
    monkeypatch.setattr(health, "gunicorn", lambda path: path)
    monkeypatch.setattr(health, "answer_of", answer_of)
    return told


OK = Answer(200, "OK", "a page")


@pytest.mark.parametrize(
    ("site", "answers"),
    [
        (HTTP, {"http://example.com/": OK}),
        (HTTP, {"http://example.com/": Answer(304, "Not Modified", "")}),
        # A login that answers.
        (HTTP, {"http://example.com/": to("/login/?next=/"),
                "http://example.com/login/?next=/": OK}),
        (HTTP, {"http://example.com/": to("login#top"), "http://example.com/login": OK}),
        # Other names of the site.
        (HTTPS, {"https://example.com/": to("https://www.example.net/"),
                 "https://www.example.net/": OK}),
        (HTTPS, {"https://example.com/": to("//a.example.org/"), "https://a.example.org/": OK}),
        (HTTP, {"http://example.com/": to("http://example.com:80/x"),
                "http://example.com/x": OK}),
        # A cookie ends what would be a circle.
        (HTTP, {"http://example.com/": to("/", 302, "lang=de"),
                "http://example.com/ lang=de": OK}),
        # nginx asks for a password, and Gunicorn does not.
        (HTTP, {"http://example.com/": Answer(401, "Unauthorized", ""),
                "gunicorn http://example.com/": OK}),
        # A proxy before nginx ends TLS.
        (HTTP | {"proxied": True}, {"http://example.com/": to("https://example.com/"),
                                    "gunicorn https://example.com/": OK}),
        (HTTP | {"name": "2001:db8::7", "names": ["2001:db8::7"]},
         {"http://2001:db8::7/": to("http://[2001:db8::7]/x"),
          "http://[2001:db8::7]/x": OK}),
        # As an earlier version has described it.
        ({key: HTTP[key] for key in ("name", "path", "scheme", "socket")},
         {"http://example.com/": OK}),
    ],
)  # fmt: skip
def test_a_site_is_right_where_its_visitors_get_a_page(pages, site, answers):
    pages.update(answers)
    assert health.judge(site) == health.Verdict()


@pytest.mark.parametrize(
    ("site", "answers", "wrong"),
    [
        (HTTP, {}, "nobody answers"),
        (HTTP, {"http://example.com/": Answer(500, "Error", "why")}, "500 Error\nwhy"),
        (HTTP, {"http://example.com/": to("/login/"),
                "http://example.com/login/": Answer(404, "Not Found", "")},
         "GET http://example.com/ leads to http://example.com/login/, which answers 404"),
        # A project that redirects to HTTPS, without a certificate.
        (HTTP, {"http://example.com/": to("https://example.com/")}, "app_certificate is none"),
        (HTTP, {"http://example.com/": to("/a"),
                "http://example.com/a": to("https://www.example.net/a", 308)},
         "app_certificate is none"),
        # A proxy is there, and behind it the project does not answer.
        (HTTP | {"proxied": True}, {"http://example.com/": to("https://example.com/"),
                                    "gunicorn https://example.com/": to("https://example.com/")},
         "in a circle"),
        (HTTPS, {"https://example.com/": to("https://example.com/")}, "in a circle"),
        (HTTPS, {"https://example.com/": to("/a"), "https://example.com/a": to("/")},
         "in a circle"),
        (HTTPS, {"https://example.com/": to("http://example.com/")}, "leads back from there"),
        # The project's own idea of its name.
        (HTTPS, {"https://example.com/": to("https://www.example.com/")}, "app_domains"),
        (HTTPS, {"https://example.com/": to("https://example.net/")}, "app_domains"),
        (HTTP, {"http://example.com/": to("http://example.com:8000/")}, "does not serve"),
        (HTTP, {"http://example.com/": to("ftp://example.com/")}, "does not serve"),
        (HTTP, {"http://example.com/": to("http://example.com:x/")}, "is no URL"),
        (HTTP, {"http://example.com/": to("http://[/")}, "is no URL"),
    ],
)  # fmt: skip
def test_what_keeps_visitors_from_a_page_is_named(pages, site, answers, wrong):
    pages.update(answers)
    assert wrong in health.judge(site).wrong


def test_redirects_without_an_end_are_a_circle(pages):
    pages["http://example.com/"] = to("/0")
    pages |= {f"http://example.com/{number}": to(f"/{number + 1}") for number in range(30)}
    assert "in a circle" in health.judge(HTTP).wrong


def test_another_site_is_told_and_not_asked(pages):
    pages["https://example.com/"] = to("https://sso.example/login")
    found = health.judge(HTTPS)
    assert not found.wrong
    assert "https://sso.example/login, which is another site" in found.told


def test_what_an_application_says_is_no_control_character(pages):
    pages["https://example.com/"] = to("https://sso.example/\x1b[2J\r\nx")
    assert health.judge(HTTPS).told.isprintable()


def test_slow_redirects_hold_nobody_up(pages, monkeypatch):
    """An application may take its time before each answer."""
    seconds = iter(range(0, 1000, 20))
    monkeypatch.setattr(health, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    pages.update({f"http://example.com/{n or ''}": to(f"/{n + 1}") for n in range(9)})
    found = health.judge(HTTP)
    assert (
        found.wrong == "GET http://example.com/1 leads to http://example.com/2, and no page "
        "was there after 30 s."
    )


def test_a_name_that_tls_refuses_is_no_answer(monkeypatch):
    def refuse(name, scheme):
        raise ValueError("server_hostname cannot start with a leading dot")

    monkeypatch.setattr(health, "nginx", refuse)
    assert "leading dot" in health.judge(HTTPS).wrong


# --- Files ----------------------------------------------------------------------------------------


@pytest.fixture
def served(pages, tmp_path, monkeypatch):
    """A directory that nginx serves, with one file; give its site."""
    tmp_path.chmod(0o755)
    root = tmp_path / "files"
    (root / "css").mkdir(parents=True)
    (root / "css" / "a b.css").write_text("a {}")
    (root / "css" / "a b.css.gz").write_text("")
    (root / ".hidden").write_text("")
    (root / "link").symlink_to("/etc/passwd")
    pages["http://example.com/"] = OK
    user = SimpleNamespace(pw_uid=33, pw_name="x", gr_gid=33, gr_name="x")
    monkeypatch.setattr(
        health, "pwd", SimpleNamespace(getpwnam=lambda _: user, getpwuid=lambda _: user)
    )
    monkeypatch.setattr(
        health, "grp", SimpleNamespace(getgrnam=lambda _: user, getgrgid=lambda _: user)
    )
    return SimpleNamespace(
        root=root, file=root / "css" / "a b.css", url="http://example.com/static/css/a%20b.css",
        site=HTTP | {"files": {"/static/": str(root), "/media/": str(tmp_path / "nothing")}},
    )  # fmt: skip


@pytest.mark.parametrize("status", [200, 304, 401])
def test_a_file_that_is_served_is_right(pages, served, status):
    pages[served.url] = Answer(status, "", "")
    assert health.judge(served.site) == health.Verdict()


def test_files_with_a_name_of_their_own_are_asked_for_by_it(pages, served):
    site = served.site | {"files_at": {"/static/": "files.example.com"}}
    pages[served.url] = to("http://files.example.com/static/css/a%20b.css", 301)
    url = "http://files.example.com/static/css/a%20b.css"
    pages[url] = OK
    assert health.judge(site) == health.Verdict()
    pages[url] = Answer(404, "Not Found", "")
    verdict = health.judge(site)
    assert f"GET {url}: 404" in verdict.wrong + verdict.told


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of root's")
def test_no_name_of_an_upload_stops_a_deploy(pages, served, monkeypatch):
    """A name may be neither UTF-8 nor printable."""
    monkeypatch.setattr(health.Path, "parents", property(lambda path: [path.parent]))
    name = os.fsdecode(b"evil-\xff\x1b[2J.txt")
    upload = served.root / name
    upload.write_text("")
    upload.chmod(0o600)
    for path in (upload, served.root):
        os.chown(path, 1000, 0)
    os.utime(upload, (2e9, 2e9))
    pages["http://example.com/static/evil-%FF%1B%5B2J.txt"] = Answer(403, "Forbidden", "")
    found = health.judge(served.site)
    assert found.wrong == "" and "evil-??[2J.txt" in found.told
    assert found.told.isprintable()


def test_a_directory_without_a_file_is_not_asked(pages, served):
    served.file.unlink()
    assert health.judge(served.site) == health.Verdict()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of root's")
@pytest.mark.parametrize("closed", ["css", "css/a b.css"])
@pytest.mark.parametrize("owner", [0, 1000])
def test_what_keeps_nginx_from_a_file_is_named(pages, served, monkeypatch, closed, owner):
    """What belongs to the application is a warning: it must not stop a deploy."""
    monkeypatch.setattr(health.Path, "parents", property(lambda path: [path.parent]))
    pages[served.url] = Answer(403, "Forbidden", "")
    path = served.root / closed
    path.chmod(0o750 if path.is_dir() else 0o640)
    os.chown(path, owner, 0)
    found = health.judge(served.site)
    told, other = (found.wrong, found.told) if owner == 0 else (found.told, found.wrong)
    assert f"403 Forbidden. nginx cannot read {path}, {'d' if path.is_dir() else '-'}rw" in told
    assert ("FILE_UPLOAD_PERMISSIONS" in told) == (owner != 0)
    assert other == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of root's")
def test_a_file_that_nginx_does_not_know_names_the_variables(pages, served, monkeypatch):
    monkeypatch.setattr(health, "barrier", lambda path: "")
    pages[served.url] = Answer(404, "Not Found", "")
    assert "app_static_url" in health.judge(served.site).wrong


def test_a_file_that_is_gone_is_nothing_wrong(pages, served, monkeypatch):
    pages[served.url] = Answer(404, "Not Found", "")
    asked = health.answer_of

    def remove(*given):
        if "/static/" in given[2]:
            served.file.unlink()
        return asked(*given)

    monkeypatch.setattr(health, "answer_of", remove)
    assert health.judge(served.site) == health.Verdict()


def test_the_group_of_nginx_may_read(served):
    os.chown(served.root / "css", -1, 33) if os.geteuid() == 0 else pytest.skip("needs root")
    (served.root / "css").chmod(0o750)
    assert health.barrier(str(served.file)) in ("", *map(str, Path(served.root).parents))


def test_a_large_directory_is_not_walked_to_its_end(tmp_path):
    for number in range(health.LOOKS + 50):
        (tmp_path / f"{number:05}").touch()
    assert len(list(health.files(str(tmp_path), health.LOOKS))) == health.LOOKS
