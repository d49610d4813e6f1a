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
from playwright.sync_api import expect

import minimistral
from minimistral import lab
from minimistral.lab.claims import claims
from minimistral.lab.tools.browser_tool import BrowserTool

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted(path.stem for path in (ROOT / "chapters").glob("*.ipynb"))
PATIENCE = 120_000  # ms until something counts as missing: a busy machine is slow, and that is no fault of the book's
expect.set_options(timeout=PATIENCE)
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
    assert done.stderr == ""
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
    context.set_default_timeout(PATIENCE)
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
            tool.locator(".minimistral-tool").wait_for()
            expect(tool).to_have_class("live-tool is-alive")
            found[tool.get_attribute("data-module")] = stem
    expected = {kind.script for kind in browser_tools().values() if not kind.asks or kind.alone}
    assert expected <= set(found), f"not alive on any page: {expected - set(found)}"


def test_a_slider_changes_the_picture(site):
    page = site("chapters/05_sliding_window.html")
    page.locator(".live-tool").first.scroll_into_view_if_needed()
    slider = page.locator('.live-tool [data-name="window"]')
    slider.wait_for()
    said = page.locator(".live-tool [role=status]")
    expect(said).to_contain_text("Reaches 13 tokens")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(said).to_contain_text("4 × (5 − 1) + 1 = 17")
    page.locator(".live-tool svg").filter(has_text="untrained model").wait_for()


def test_a_tool_finds_back_to_what_it_knows(site):
    """For 18 tokens the page has no gradients; back at 17 they are there again."""
    page = site("chapters/05_sliding_window.html")
    tool = page.locator(".live-tool").first
    tool.scroll_into_view_if_needed()
    slider = tool.locator("[data-name=n_tokens]")
    slider.wait_for()
    picture = tool.locator("svg").first
    first = picture.inner_html()
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_value("18")
    assert picture.inner_html() != first
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_value("17")
    page.wait_for_function("first => document.querySelector('.live-tool svg').innerHTML === first", arg=first)


def test_a_quiz_explains_each_answer(site):
    page = site("chapters/05_sliding_window.html")
    options = page.locator("details:has(summary)").filter(has_text=re.compile("Yes\\.|Not quite\\."))
    assert options.count() >= 12
    right, wrong = page.locator(".quiz details.right"), page.locator(".quiz details:not(.right)")
    assert right.count() == page.locator(".quiz > ul").count() and wrong.count() >= 2 * right.count()
    for option, verdict in ((wrong.first, "Not quite."), (right.first, "Yes.")):
        option.locator("summary").focus()
        page.keyboard.press("Enter")
        expect(option).to_have_attribute("open", "")
        assert verdict in option.text_content()
    page.get_by_role("button", name="Close all answers").click()
    expect(page.locator(".quiz details[open]")).to_have_count(0)


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
    page.wait_for_url("**/ledger.html#claim-c34")


def test_the_first_page_has_a_tool_that_moves(site):
    page = site("index.html")
    page.locator(".hero").scroll_into_view_if_needed()
    slider = page.locator(".hero [data-name=position]")
    slider.wait_for()
    said = page.locator(".hero [role=status]")
    expect(said).to_contain_text("Position 8,191")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(said).to_contain_text("Position 8,192")
    assert page.locator(".squares i").count() == len(claims())


def test_the_first_screen_invites(site):
    """Where to begin, and a tool to move, without scrolling; below, a card with a drawing for each chapter."""
    page = site("index.html")
    for seen in (page.locator(".start .begin"), page.locator(".hero .minimistral-picture > svg")):
        seen.wait_for()
        assert seen.bounding_box()["y"] < 700
    assert page.locator(".card .emblem").count() == len(CHAPTERS)


def test_every_chapter_opens_with_its_question_and_its_drawing(book):
    for stem in CHAPTERS:
        text = (book / "chapters" / f"{stem}.html").read_text(encoding="utf-8")
        assert 'class="emblem"' in text and 'class="question"' in text and "facts" in text, stem


def test_code_that_only_serves_is_folded(site):
    page = site("chapters/05_sliding_window.html")
    folded = page.locator("details.hide:not([open])")
    for code in ("import torch.nn.functional as F", "predict(", 'quiz("05")', "def draw_masks"):
        assert folded.filter(has_text=code).count() >= 1, code
    assert folded.filter(has_text="def build_mask").count() == 0, "what a chapter builds is there to be read"


def test_a_prediction_is_made_in_the_page_and_comes_back(site):
    page = site("chapters/05_sliding_window.html")
    page.evaluate("localStorage.clear()")
    page = site("chapters/05_sliding_window.html")
    asked = page.locator("fieldset.prediction[data-prediction='05.reach']")
    revealed = page.locator(".revealed[data-prediction='05.reach']")
    assert revealed.text_content() == "Measured: 13."
    asked.get_by_role("button", name="Commit").click()
    expect(asked.locator("output")).to_have_text("Choose one first.")
    asked.get_by_label("16", exact=True).focus()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(revealed).to_have_text("You predicted 16. Measured: 13.")
    page = site("chapters/05_sliding_window.html")
    expect(page.locator(".revealed[data-prediction='05.reach']")).to_have_text("You predicted 16. Measured: 13.")
    assert page.locator("fieldset.prediction[data-prediction='05.cliff'] input:checked").count() == 0
    page.evaluate("localStorage.clear()")


def test_every_prediction_can_be_made(book):
    for stem in CHAPTERS:
        text = (book / "chapters" / f"{stem}.html").read_text(encoding="utf-8")
        asked = set(re.findall(r'<fieldset class="prediction" data-prediction="([^"]+)"', text))
        revealed = set(re.findall(r'<p class="revealed" data-prediction="([^"]+)"', text))
        assert len(asked) == 2 and asked - revealed <= {"13.favourite"}, stem  # only real weights measure that one


def test_pictures_lie_on_paper_in_the_dark(site):
    page = site("chapters/05_sliding_window.html")
    picture = page.locator("div.cell_output img").first
    looks = {}
    for theme in ("light", "dark"):
        page.evaluate(f"document.body.dataset.theme = '{theme}'")
        looks[theme] = picture.evaluate(
            "picture => [getComputedStyle(picture).filter, getComputedStyle(picture).padding]"
        )
    assert looks["light"] == ["none", "0px"]
    assert looks["dark"][0].startswith("brightness") and looks["dark"][1] != "0px"


def test_on_paper_nothing_is_cut_or_hidden(browser, address):
    """As page.pdf() and a printer see it: folded code is there, lines of code wrap, the site's frame is gone."""
    context = browser.new_context(viewport={"width": 680, "height": 960}, color_scheme="dark")
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(address + "chapters/05_sliding_window.html")
    page.locator("mjx-container").first.wait_for()
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.evaluate("document.getAnimations().filter(one => one.effect.target.closest('details')).length") == 0
    cut = "boxes => boxes.filter(box => box.scrollWidth > box.clientWidth + 1).map(box => box.textContent.slice(0, 60))"
    assert page.locator("article pre").evaluate_all(cut) == []
    for frame in (".skip-to-content", ".sidebar-drawer", ".mobile-header", ".copybtn"):
        assert page.locator(frame).locator("visible=true").count() == 0, frame
    assert page.locator("div.cell_output img").first.evaluate("picture => getComputedStyle(picture).filter") == "none"
    page.goto(address + "figures.html")
    shown = "drawings => drawings.filter(drawing => getComputedStyle(drawing).display !== 'none').length"
    assert page.locator("img.figure-light").evaluate_all(shown) == 9
    assert page.locator("img.figure-dark").evaluate_all(shown) == 0
    context.close()


def test_mathematics_is_typeset(site):
    page = site("chapters/03_rope.html")
    page.locator("mjx-container").first.wait_for()
    assert "another host" not in " ".join(page.wrong)


def test_search_finds_a_chapter(site):
    page = site("search.html?q=router")
    page.locator("ul.search li").first.wait_for()
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
    "figures.html",
    "models/tiny-mistral.html",
    "search.html?q=router",
    "_modules/minimistral/masks.html",
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
    context = browser.new_context(viewport={"width": 360, "height": 740})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(address + name)
    page.wait_for_load_state("networkidle")
    for tool in page.locator(".live-tool").all():
        tool.scroll_into_view_if_needed()
        tool.locator(".minimistral-tool").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
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


def test_every_paper_behind_a_figure_is_in_the_bibliography(book):
    known = tomllib.loads((ROOT / "book" / "bibliography.toml").read_text())
    tables = "".join(path.read_text() for path in (ROOT / "figures" / "data").glob("*.csv"))
    assert {f"arXiv:{number}" for number in re.findall(r"(?i)arxiv(?:\.org/abs/|[: ])(\d{4}\.\d{5})", tables)} - set(
        known
    ) == set()
    entries = re.findall(r"<li><p>.*?</p>", (book / "bibliography.html").read_text(encoding="utf-8"), re.S)
    papers = [entry for entry in entries if "arxiv.org/abs" in entry or "doi.org" in entry]
    assert len(papers) >= len(known)
    assert [entry for entry in papers if "chapters/" not in entry and "figures.html" not in entry] == []


def test_the_reference_has_every_public_name(book):
    text = (book / "reference.html").read_text(encoding="utf-8")
    names = {anchor.rpartition(".")[2] for anchor in re.findall(r'\bid="(minimistral[\w.]+)"', text)}
    assert set(minimistral.__all__) | set(lab.__all__) <= names
    assert "Should be overridden by all subclasses" not in text
