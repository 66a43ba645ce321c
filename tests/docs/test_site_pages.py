"""The built site in a browser: on a telephone nothing is wider than the screen, and nothing is fetched from elsewhere."""

import functools
import http.server
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
LIBRARIES = Path(sys.prefix) / "site"
PHONE = (390, 844)
_MEASURE = """<body><script>
const pages = PAGES, told = {};
async function measure() {
  for (const page of pages) {
    const frame = document.createElement("iframe");
    frame.width = WIDTH; frame.height = HEIGHT;
    frame.src = page;
    await new Promise(done => { frame.onload = done; document.body.append(frame); });
    const root = frame.contentDocument.documentElement;
    const fetched = frame.contentWindow.performance.getEntriesByType("resource").map(entry => entry.name);
    const lists = [...root.querySelectorAll("article ol")].map(list => list.start);
    told[page] = {width: root.scrollWidth, fetched, lists};
    frame.remove();
  }
  await fetch("told", {method: "POST", body: JSON.stringify(told)});
}
measure();
</script></body>"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    if not (LIBRARIES / "mkdocs").is_dir():
        pytest.skip("the site's libraries are not here; make docs installs them")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(LIBRARIES), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def seen(site, tmp_path_factory):
    """What a browser says of every page at the width of a telephone."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium installed")
    found = sorted(path.relative_to(site) for path in site.rglob("*.html"))
    pages = [path.as_posix() for path in found if path.name != "404.html"]
    script = _MEASURE.replace("PAGES", json.dumps(pages))
    script = script.replace("WIDTH", str(PHONE[0])).replace("HEIGHT", str(PHONE[1]))
    (site / "measure.html").write_text(script, encoding="utf-8")
    with _Served(site) as server:
        flags = (
            "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
            "--disable-component-update --disable-sync --hide-scrollbars"
        )
        profile = f"--user-data-dir={tmp_path_factory.mktemp('profile')}"
        command = [browser, *flags.split(), profile, f"{server.address}/measure.html"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            told = server.answers.get(timeout=240)
        finally:
            process.terminate()
            process.wait(timeout=60)
    assert sorted(told) == sorted(pages)
    return server.address, told


class _Served:
    """A folder behind an address of this machine; `answers` holds what its pages send back."""

    def __init__(self, folder):
        self.answers = queue.Queue()
        handler = functools.partial(_Handler, self.answers, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.server.shutdown()
        self.server.server_close()


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, answers, *arguments, **named):
        self.answers = answers
        super().__init__(*arguments, **named)

    def do_POST(self):
        self.answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments):
        """Nothing is said of a request."""


def test_no_page_is_wider_than_a_telephone(seen):
    assert {page: told["width"] for page, told in seen[1].items() if told["width"] > PHONE[0]} == {}


def test_nothing_is_fetched_from_elsewhere(seen):
    address, told = seen
    fetched = {name for page in told.values() for name in page["fetched"]}
    assert fetched
    assert {name for name in fetched if not name.startswith((address, "data:", "blob:"))} == set()


def test_the_numbers_of_a_list_go_on_behind_a_heading(seen):
    """Those that the chart names."""
    starts = seen[1]["choosing-a-form.html"]["lists"]
    assert starts == sorted(set(starts))
    assert len(starts) == 4


def test_a_chart_is_text_and_a_sample_keeps_its_tabs(site):
    page = (site / "choosing-a-form.html").read_text(encoding="utf-8")
    assert '<svg xmlns="http://www.w3.org/2000/svg" class="which-form"' in page
    ranking = (site / "tasks" / "text-ranking.html").read_text(encoding="utf-8")
    assert "query\tpassage\tlabel" in ranking
