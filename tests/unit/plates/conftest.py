"""One browser for all pages of plates: to start it takes longer than to look at a page."""

import pytest

from support.browser import Browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()
