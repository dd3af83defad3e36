"""The directories that lead to the shared ones."""

import pytest
from ansible_collections.clink.django_stack.plugins.filter.parents import parents


@pytest.mark.parametrize(
    ("paths", "above"),
    [
        ([], []),
        (["media", "media2/", "."], []),
        (["shop/media"], ["shop"]),
        (["a/b/c", "a/d", "./a//e/f/"], ["a", "a/b", "a/e"]),
    ],
)
def test_each_directory_comes_once_and_before_those_below_it(paths, above):
    assert parents(paths) == above
