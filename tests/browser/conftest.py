"""A real JupyterLab in a real Chromium, with a copy of the chapters and an empty progress folder."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
TIMER = """slider => {
  window.times = [];
  slider.addEventListener('keydown', () => { window.pressed = performance.now(); }, true);
  slider.addEventListener('input', () => requestAnimationFrame(() => window.times.push(performance.now() - window.pressed)));
}"""


def chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((found for name in names if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def course(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    for chapter in (ROOT / "chapters").glob("*.ipynb"):
        shutil.copyfile(chapter, folder / chapter.name)
    return folder


@pytest.fixture(scope="session")
def lab(course):
    """The address of a running JupyterLab."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "jupyter",
        "lab",
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--allow-root",
    ]
    command += ["--IdentityProvider.token=", "--ServerApp.password=", "--ServerApp.port_retries=0"]
    environment = {
        **os.environ,
        "MINIMISTRAL_PROGRESS": str(course / ".progress"),
        "JUPYTER_CONFIG_DIR": str(course / ".config"),
    }
    server = subprocess.Popen(
        command, cwd=course, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/api/status", timeout=2)
                break
            except OSError:
                assert server.poll() is None, "JupyterLab ended while starting"
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="session")
def browser():
    path = chromium()
    if path is None:
        pytest.skip("no Chromium here: install chromium or Chrome to run the browser tests")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Opened:
    """A page, and what it complained about: console errors, and requests that left this machine."""

    def __init__(self, page, address):
        self.page, self.address, self.errors, self.outside = page, address, [], []
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._note)

    def _note(self, request):
        if not request.url.startswith((self.address, self.address.replace("http", "ws"), "data:", "blob:")):
            self.outside.append(request.url)

    def open(self, chapter):
        self.page.goto(f"{self.address}/lab/tree/{chapter}?reset")
        self.page.wait_for_selector(".jp-NotebookPanel .jp-Notebook .jp-Cell", timeout=90_000)
        self.wait_for_kernel(chapter)
        self.wait_until_idle()

    def wait_for_kernel(self, chapter):
        """The page says idle before its kernel is there, and then asks which kernel to take."""
        for _ in range(180):
            with urllib.request.urlopen(f"{self.address}/api/sessions", timeout=30) as answer:
                kernels = [session["kernel"] for session in json.load(answer) if session["path"] == chapter]
            if any(kernel["connections"] and kernel["execution_state"] == "idle" for kernel in kernels):
                return
            time.sleep(0.5)
        raise AssertionError(f"no kernel came up for {chapter}")

    def wait_until_idle(self, timeout=180_000):
        self.page.wait_for_selector(
            '.jp-NotebookPanel .jp-Notebook-ExecutionIndicator[data-status="idle"]', state="attached", timeout=timeout
        )

    def run_all(self):
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_text("Run All Cells", exact=True).first.click()

    def run_chapter(self, chapter, tool, question, timeout=300_000):
        """Open a chapter and run it until its tool, its question of this number (from 0) and all else are there."""
        self.errors.clear()
        self.outside.clear()
        self.open(chapter)
        self.run_all()
        self.page.wait_for_selector(tool, timeout=240_000)
        self.page.wait_for_selector(f".minimistral-question >> nth={question}", state="attached", timeout=timeout)
        self.wait_until_idle(timeout)

    def control(self, tool, name):
        """A tool's slider, list, field or button, by its data-name, scrolled to."""
        found = self.page.locator(f'{tool} [data-name="{name}"]')
        found.scroll_into_view_if_needed()
        return found

    def said(self, tool):
        """The sentence that a tool reads out."""
        return self.page.locator(f"{tool} [role=status]").text_content()

    def redraw_times(self, slider, keys):
        """Press these keys on a slider: median and 95th percentile of the milliseconds from each press to its picture."""
        slider.evaluate(TIMER)
        slider.focus()
        for key in keys:
            self.page.keyboard.press(key)
            self.page.wait_for_timeout(20)
        times = sorted(self.page.evaluate("window.times"))
        assert len(times) >= 0.9 * len(keys)
        median, p95 = times[len(times) // 2], times[int(len(times) * 0.95)]
        print(f"median {median:.0f} ms, p95 {p95:.0f} ms")
        return median, p95


@pytest.fixture(scope="session")
def opened(browser, lab):
    context = browser.new_context(viewport={"width": 1300, "height": 1000})
    yield Opened(context.new_page(), lab)
    context.close()
