"""A page in a real browser, headless."""

import html
import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = '</script><script>document.title="hacked"</script>"\'`${1}'


def in_browser(path, script=""):
    """The page after `script` ran in it: its HTML; errors of the console are collected in the title's data."""
    if CHROMIUM is None:
        pytest.skip("no chromium here")
    text = path.read_text()
    spy = '<script>window.failures = []; addEventListener("error", e => failures.push(e.message));'
    spy += "console.error = (...all) => failures.push(all.join(' '));"
    spy += 'addEventListener("securitypolicyviolation", e => failures.push(e.violatedDirective));</script>'
    after = f"<script>{script}; document.body.dataset.failures = JSON.stringify(failures)</script>"
    changed = path.with_name("spied.html")
    changed.write_text(text.replace("<title>", f"{spy}<title>", 1).replace("</body>", f"{after}</body>"))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"file://{changed}"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    failures = json.loads(html.unescape(re.search(r'data-failures="([^"]*)"', dom)[1]))
    return dom, failures
