"""pack: which state of a directory is which release, and what the release holds."""

import os
import subprocess
import tarfile

import pytest
from ansible_collections.clink.django_stack.plugins.plugin_utils.pack import SourceError
from ansible_collections.clink.django_stack.plugins.plugin_utils.pack import pack as revision


@pytest.fixture
def source(tmp_path):
    """A project in no git work tree."""
    directory = tmp_path / "source"
    (directory / "package").mkdir(parents=True)
    (directory / "manage.py").write_text("print()\n")
    (directory / "package" / "code.py").write_text("one = 1\n")
    return directory


@pytest.fixture
def tree(source):
    """The same as a git work tree, with a file that git ignores."""
    subprocess.run(["git", "init", "--quiet", source], check=True)
    (source / ".gitignore").write_text("*.log\n/secret/\n")
    (source / "debug.log").write_text("noise\n")
    (source / "secret").mkdir()
    (source / "secret" / "key").write_text("hidden\n")
    return source


def names(directory):
    archive = directory.parent / "archive.tar"
    revision(directory, archive)
    with tarfile.open(archive) as tar:
        return sorted(tar.getnames())


def test_the_revision_is_forty_hexadecimal_digits(source):
    assert len(revision(source)) == 40
    int(revision(source), 16)


def test_times_and_other_modes_do_not_matter(source):
    before = revision(source)
    os.utime(source / "manage.py", (1, 1))
    (source / "manage.py").chmod(0o600)
    (source / "empty").mkdir()
    assert revision(source) == before


def test_the_place_does_not_matter(source):
    before = revision(source)
    assert revision(source.rename(source.with_name("elsewhere"))) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda directory: (directory / "manage.py").write_text("print(1)\n"),
        lambda directory: (directory / "manage.py").chmod(0o755),
        lambda directory: (directory / "manage.py").rename(directory / "run.py"),
        lambda directory: (directory / "manage.py").unlink(),
        lambda directory: (directory / "new.py").touch(),
        lambda directory: (directory / "link").symlink_to("manage.py"),
    ],
    ids=["content", "executable bit", "rename", "removal", "new file", "link"],
)
def test_a_change_is_another_revision(source, change):
    before = revision(source)
    change(source)
    assert revision(source) != before


def test_a_links_target_matters_and_not_what_is_there(source):
    (source / "link").symlink_to("manage.py")
    before = revision(source)
    (source / "link").unlink()
    (source / "link").symlink_to("package")
    assert revision(source) != before


def test_moving_content_between_files_is_another_revision(source):
    before = revision(source)
    first, second = source / "manage.py", source / "package" / "code.py"
    one, two = first.read_text(), second.read_text()
    first.write_text(two)
    second.write_text(one)
    assert revision(source) != before


def test_what_git_ignores_is_left_out(tree):
    before = revision(tree)
    (tree / "debug.log").write_text("other noise\n")
    assert revision(tree) == before
    assert names(tree) == [".gitignore", "manage.py", "package/code.py"]


def test_a_directory_within_a_work_tree_is_that_directory_only(tree):
    assert names(tree / "package") == ["code.py"]


def test_a_tracked_file_that_was_deleted_is_left_out(tree):
    subprocess.run(["git", "-C", tree, "add", "."], check=True)
    (tree / "manage.py").unlink()
    assert names(tree) == [".gitignore", "package/code.py"]


def test_without_git_caches_and_environments_are_left_out(source):
    for name in (".venv/bin/python", "package/__pycache__/code.pyc", "node_modules/x.js"):
        path = source / name
        path.parent.mkdir(parents=True)
        path.touch()
    assert names(source) == ["manage.py", "package/code.py"]


def test_the_archive_holds_contents_modes_and_links(source):
    (source / "manage.py").chmod(0o755)
    (source / "link").symlink_to("manage.py")
    (source / "dangling").symlink_to("/nowhere")
    archive = source.parent / "archive.tar"
    assert revision(source, archive) == revision(source)
    with tarfile.open(archive) as tar:
        assert sorted(tar.getnames()) == ["dangling", "link", "manage.py", "package/code.py"]
        assert tar.extractfile("package/code.py").read() == b"one = 1\n"
        assert tar.getmember("manage.py").mode & 0o100
        assert not tar.getmember("package/code.py").mode & 0o111
        assert tar.getmember("link").issym()
        assert tar.getmember("link").linkname == "manage.py"
        assert tar.getmember("dangling").linkname == "/nowhere"


@pytest.mark.parametrize("name", ["ünï code.py", "with\nnewline.py", "-dash.py", "a'b\"c.py"])
def test_any_name_survives(tree, name):
    (tree / name).touch()
    assert name in names(tree)


@pytest.mark.parametrize(
    ("make", "message"),
    [(lambda path: None, "does not exist"), (lambda path: path.mkdir(), "holds no files")],
    ids=["missing", "empty"],
)
def test_nothing_to_pack_is_refused_with_its_name(tmp_path, make, message):
    directory = tmp_path / "app"
    make(directory)
    with pytest.raises(SourceError, match=message) as told:
        revision(directory)
    assert str(directory) in str(told.value)


def test_a_broken_source_leaves_no_archive(tmp_path):
    archive = tmp_path / "archive.tar"
    with pytest.raises(SourceError):
        revision(tmp_path / "missing", archive)
    assert not archive.exists()


def test_an_archive_is_taken_as_it_is(source, tmp_path):
    archive, copy = tmp_path / "source.tar.gz", tmp_path / "copy.tar"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(source, "project-1.0")
    name = revision(archive)
    assert revision(archive, copy) == name
    assert copy.read_bytes() == archive.read_bytes()
    archive.write_bytes(b"another")
    assert revision(archive) != name
