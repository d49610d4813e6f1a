"""The book in a real browser: every page and link, tools alive, nothing from another host, accessible, narrow, by keyboard."""

import re
import subprocess
import sys
import threading
import tomllib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe

from minimistral import lab
from minimistral.lab.claims import claims
from minimistral.lab.tools.browser_tool import BrowserTool

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted(path.stem for path in (ROOT / "chapters").glob("*.ipynb"))
sys.path.insert(0, str(ROOT))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """The folder of the built site; Sphinx has nothing to complain about."""
    output = tmp_path_factory.mktemp("book")
    command = [
        sys.executable,
        ROOT / "book" / "build.py",
        "--output",
        output,
        "--repository",
        "https://github.com/someone/course",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=output)
    assert done.returncode == 0, done.stderr
    complaints = [line for line in done.stderr.splitlines() if re.search("WARNING|ERROR", line)]
    assert [line for line in complaints if "parallel" not in line and "serial read" not in line] == []
    return output / "html"


@pytest.fixture(scope="module")
def address(book):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(book)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def site(browser, address):
    """Opens a page and gives it back, with what went wrong on it in page.wrong."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.wrong = []
    page.on("console", lambda message: page.wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("requestfailed", lambda request: page.wrong.append(f"failed: {request.url}"))
    page.on("response", lambda answer: page.wrong.append(answer.url) if answer.status >= 400 else None)

    def note(request):
        if not request.url.startswith((address, "data:", "blob:")):
            page.wrong.append(f"another host: {request.url}")

    page.on("request", note)

    def open_page(path):
        page.wrong.clear()
        page.goto(address + path)
        return page

    yield open_page
    context.close()


def pages(book):
    return sorted(str(path.relative_to(book)) for path in book.rglob("*.html"))


def test_every_link_leads_somewhere(book):
    """Files and the places in them, on all pages, without a browser: fast, and none is forgotten."""
    texts = {name: (book / name).read_text(encoding="utf-8") for name in pages(book)}
    ids = {name: set(re.findall(r'\bid="([^"]+)"', text)) for name, text in texts.items()}
    broken = []
    for name, text in texts.items():
        for link in set(re.findall(r'<(?:a|link|img|script)\b[^>]*?\b(?:href|src)="([^"]+)"', text)):
            target = urlsplit(urljoin(f"site:///{name}", link.replace("&amp;", "&")))
            if target.scheme != "site":
                continue
            file = unquote(target.path.lstrip("/"))
            if (
                not (book / file).is_file()
                or target.fragment
                and file in ids
                and unquote(target.fragment) not in ids[file]
            ):
                broken.append((name, link))
    assert broken == []


def test_every_page_opens_without_complaint(book, site):
    wrong = {}
    for name in pages(book):
        page = site(name)
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        page.wait_for_load_state("networkidle")
        if page.wrong:
            wrong[name] = list(page.wrong)
    assert wrong == {}


def browser_tools():
    kinds = {name: getattr(lab, name) for name in lab._HOME if name[0].isupper()}
    return {n: k for n, k in kinds.items() if isinstance(k, type) and issubclass(k, BrowserTool)}


def test_tools_that_the_browser_can_draw_are_alive_in_their_chapter(book, site):
    found = {}
    for stem in CHAPTERS:
        page = site(f"chapters/{stem}.html")
        for tool in page.locator(".live-tool").all():
            tool.scroll_into_view_if_needed()
            tool.locator(".minimistral-tool").wait_for(timeout=10_000)
            assert tool.get_attribute("class") == "live-tool is-alive"
            found[tool.get_attribute("data-module")] = stem
    expected = {kind.script for kind in browser_tools().values() if not kind.asks or kind.alone}
    assert expected <= set(found), f"not alive on any page: {expected - set(found)}"


def test_a_slider_changes_the_picture(site):
    page = site("chapters/05_sliding_window.html")
    page.locator(".live-tool").first.scroll_into_view_if_needed()
    slider = page.locator('.live-tool [data-name="window"]')
    slider.wait_for(timeout=10_000)
    said = page.locator(".live-tool [role=status]")
    assert "Reaches 13 tokens" in said.text_content()
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert "4 × (5 − 1) + 1 = 17" in said.text_content()
    page.locator(".live-tool svg").filter(has_text="untrained model").wait_for()


def test_a_quiz_explains_each_answer(site):
    page = site("chapters/05_sliding_window.html")
    options = page.locator("details:has(summary)").filter(has_text=re.compile("Yes\\.|Not quite\\."))
    assert options.count() >= 12
    options.first.locator("summary").click()
    assert options.first.get_attribute("open") is not None


def test_a_chapter_shows_no_traces_of_a_run(book):
    for stem in CHAPTERS:
        text = (book / "chapters" / f"{stem}.html").read_text(encoding="utf-8")
        for trace in ("0%|", "not attempted yet", "You made no prediction", "{.launch}", "{.question}", "| id |"):
            assert trace not in text, (stem, trace)


def test_an_exercise_has_its_hints_folded(site):
    page = site("chapters/05_sliding_window.html")
    hints = page.locator("details.hint")
    assert hints.count() >= 20 and page.locator("details.hint[open]").count() == 0
    hints.nth(3).locator("summary").click()
    assert "def my_window_mask" in hints.nth(3).text_content()


def test_the_claims_of_a_chapter_lead_to_the_ledger(site):
    page = site("chapters/05_sliding_window.html")
    page.locator("article table a", has_text="C34").click()
    assert page.url.endswith("ledger.html#claim-c34")


def test_the_first_page_has_a_tool_that_moves(site):
    page = site("index.html")
    page.locator(".hero").scroll_into_view_if_needed()
    slider = page.locator(".hero [data-name=position]")
    slider.wait_for(timeout=10_000)
    said = page.locator(".hero [role=status]").text_content()
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".hero [role=status]").text_content() != said
    assert page.locator(".squares i").count() == len(claims())


def test_mathematics_is_typeset(site):
    page = site("chapters/03_rope.html")
    page.locator("mjx-container").first.wait_for(timeout=20_000)
    assert "another host" not in " ".join(page.wrong)


def test_search_finds_a_chapter(site):
    page = site("search.html?q=router")
    page.locator("ul.search li").first.wait_for(timeout=20_000)
    assert page.locator("ul.search li a", has_text="router").count() >= 1


def test_dark_mode_by_keyboard(site):
    page = site("index.html")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    button = page.locator(".theme-toggle:visible").first
    button.focus()
    for _ in range(2):  # automatic, light, dark: at the second press it differs, whatever the system prefers
        page.keyboard.press("Enter")
        if page.evaluate("getComputedStyle(document.body).backgroundColor") != before:
            break
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    page.evaluate("localStorage.clear()")


PAGE_TYPES = [
    "index.html",
    "chapters/05_sliding_window.html",
    "ledger.html",
    "glossary.html",
    "bibliography.html",
    "reference.html",
]
NOT_OURS = {"aria-hidden-focus", "landmark-unique"}  # of furo's own frame


@pytest.mark.parametrize("name", PAGE_TYPES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_accessibility_rules(site, name, theme):
    """axe-core's rules of WCAG 2 A and AA."""
    page = site(name)
    page.evaluate(f"document.body.dataset.theme = '{theme}'")
    page.wait_for_load_state("networkidle")
    options = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa"]}, "resultTypes": ["violations"]}
    found = Axe().run(page, options=options).response["violations"]
    serious = {v["id"]: [node["html"][:160] for node in v["nodes"]][:3] for v in found if v["id"] not in NOT_OURS}
    assert serious == {}


@pytest.mark.parametrize("name", [*PAGE_TYPES, "chapters/08_router.html"])
def test_fits_a_phone(browser, address, name):
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.goto(address + name)
    page.wait_for_load_state("networkidle")
    for tool in page.locator(".live-tool").all():
        tool.scroll_into_view_if_needed()
        tool.locator(".minimistral-tool").wait_for(timeout=10_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def test_chapters_open_elsewhere(site):
    page = site("chapters/05_sliding_window.html")
    links = page.locator("article a").evaluate_all("links => links.map(link => link.href)")
    assert "https://colab.research.google.com/github/someone/course/blob/main/chapters/05_sliding_window.ipynb" in links
    assert "https://mybinder.org/v2/gh/someone/course/main?labpath=chapters%2F05_sliding_window.ipynb" in links


def test_the_ledger_has_every_claim(site):
    page = site("ledger.html")
    text = page.locator("article").text_content()
    for claim in claims().values():
        assert claim.id in text
    assert page.locator("p.verdict").count() == len(claims())


def test_glossary_names_things_that_exist():
    chapters = {stem[:2] for stem in CHAPTERS} | {f"{n:02}" for n in range(14)}
    for term, entry in tomllib.loads((ROOT / "book" / "glossary.toml").read_text()).items():
        assert entry["says"].endswith(".") and entry["chapter"] in chapters, term
        if "code" in entry:
            module, *names = next(
                (".".join(parts[:n]), *parts[n:])
                for parts in [entry["code"].split(".")]
                for n in (2, 1)
                if is_module(parts[:n])
            )
            found = import_module(f"minimistral.{module}")
            for name in names:
                found = getattr(found, name)


def is_module(parts):
    return (ROOT / "minimistral" / Path(*parts)).with_suffix(".py").exists()


def test_every_cited_paper_is_in_the_bibliography():
    from book.pages import citations

    known = tomllib.loads((ROOT / "book" / "bibliography.toml").read_text())
    cited = {key for key in citations() if key.startswith(("arXiv:", "doi:"))}
    assert cited - set(known) == set()
