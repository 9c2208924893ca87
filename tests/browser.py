"""A page opened in headless Chromium, where there is one."""

import base64
import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
PLAYER = """
const slider = document.getElementById('step');
const until = async (name) => {
  while (document.body.dataset.drawn !== name) await new Promise((done) => setTimeout(done, 10)); };
"""
"""Begins a script in the player: its slider, and a wait until a frame is drawn."""
# Nothing is asked of the network.
_QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
          "--disable-background-networking", "--disable-component-update", "--disable-sync",
          "--host-resolver-rules=MAP * ~NOTFOUND"]  # fmt: skip


def asked(page, script, folder):
    """What a script answers in the page: it calls ``answer`` with something that JSON can hold."""
    page_asked = folder / "asked.html"
    helper = (
        "<script>const answer = (found) => { const held = document.createElement('pre');"
        "held.id = 'answered'; held.textContent = btoa(JSON.stringify(found));"
        "document.body.append(held); };\n"
        f"(async () => {{ {script} }})();</script></body>"
    )
    page_asked.write_text(page.read_text(encoding="utf-8").replace("</body>", helper), "utf-8")
    command = [CHROMIUM, *_QUIET, f"--user-data-dir={folder / 'profile'}",
               "--virtual-time-budget=10000", "--dump-dom", page_asked.as_uri()]  # fmt: skip
    made = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'id="answered">([^<]+)<', made.stdout)
    assert found, made.stderr[-2000:]
    return json.loads(base64.b64decode(found[1]))
