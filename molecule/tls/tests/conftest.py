"""What the tests of this scenario prepare before the first of them begins."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from observatory import install


@pytest.fixture(scope="session", autouse=True)
def observatory():
    """Install the HTTP Observatory while other tests run; its test waits for the end."""
    with ThreadPoolExecutor() as pool:
        yield pool.submit(install)
