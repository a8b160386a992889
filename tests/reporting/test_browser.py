"""Reports in a real browser: figures say their values, tables sort, and nothing is asked for."""

import json
from pathlib import Path

import pytest

from sentinel_research.reporting import report
from tests.browser import Chromium
from tests.reporting.records import toy_record

pytestmark = pytest.mark.xdist_group("browser")

_SHORTFALLS = """() => {
    const luminance = ([red, green, blue]) => {
        const part = (value) => {
            const share = value / 255;
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        };
        return 0.2126 * part(red) + 0.7152 * part(green) + 0.0722 * part(blue);
    };
    const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = numbers(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        throw new Error("nothing is painted behind a text");
    };
    const found = [];
    for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!own || !element.getClientRects().length || element.closest("script, style")) continue;
        const style = getComputedStyle(element);
        const isDrawn = element.namespaceURI.endsWith("svg");
        const ink = numbers(isDrawn ? style.fill : style.color);
        // numbers upon the colours of a heat map have a test of their own
        if (isDrawn && element.closest("svg[aria-label^='Rank corr']") && /^-?\\d/.test(
            element.textContent)) continue;
        const levels = [luminance(ink), luminance(behind(element))].sort((one, two) => two - one);
        const ratio = (levels[0] + 0.05) / (levels[1] + 0.05);
        const words = element.textContent.slice(0, 40);
        if (ratio < 4.5) found.push(`${element.tagName} ${words}: ${ratio}`);
    }
    return [found, document.querySelectorAll("body *").length];
}"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two criteria at two fractions with scores, a failure and a training."""
    from tests.reporting.conftest import make_cell

    make = make_cell.__wrapped__()  # type: ignore[attr-defined]
    layers = {"one": [[0.1, 0.7], [0.4, 0.2]], "two": [[0.3, 0.5], [0.9, 0.1]]}
    values = {("one", 0.25): 22.0, ("one", 0.5): 30.0, ("two", 0.25): 21.0, ("two", 0.5): 24.0}
    cells = [make(20.0)]
    cells += [
        make(value, scorer, share, scores=layers[scorer])
        for (scorer, share), value in values.items()
    ]
    cells.append(make(None, "two", 0.75, error="\x1b[2J<b>out of memory</b>"))
    losses = [{"step": step, "loss": 4.0 / step} for step in (1, 2, 3)]
    record = toy_record(
        cells,
        {"prune": {"scorers": ["one", "two"], "fractions": [0.25, 0.5, 0.75]}},
        train={"losses": losses, "validation": [{"step": 3, "loss": 2.0}], "num_steps": 3},
        synthetic_data=True,
    )
    folder = tmp_path_factory.mktemp("report")
    record.write(folder)
    return report(folder).html


@pytest.mark.parametrize("has_scripts", [True, False], ids=["scripts", "no scripts"])
def test_page_asks_for_nothing_and_complains_of_nothing(
    chromium: Chromium, page: Path, has_scripts: bool
) -> None:
    opened = chromium.open(page, has_scripts=has_scripts)
    assert opened.locator("figure svg").count() >= 4
    assert chromium.requests == [page.as_uri()]
    assert chromium.complaints == []


def test_page_fits_a_phone_without_scrolling_sideways(chromium: Chromium, page: Path) -> None:
    opened = chromium.open(page, width=360, height=700)
    assert opened.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_every_text_contrasts_with_what_is_behind_it(
    chromium: Chromium, page: Path, is_dark: bool
) -> None:
    opened = chromium.open(page, is_dark=is_dark)
    for details in opened.locator("details").all():
        details.evaluate("element => element.open = true")
    found, num_elements = opened.evaluate(_SHORTFALLS)
    assert num_elements > 300
    assert found == []


def test_pointer_on_a_head_says_its_rank_and_score(chromium: Chromium, page: Path) -> None:
    opened = chromium.open(page)
    opened.locator("[id$='importance-1'] .mark").nth(2).hover()
    assert opened.locator(".bubble").inner_text() == "L1H0 by two: rank 1.00, score 0.9"
    around = opened.locator(".ring").bounding_box()
    square = opened.locator("[id$='importance-1'] .mark").nth(2).bounding_box()
    assert around is not None
    assert square is not None
    assert around["x"] == pytest.approx(square["x"] - 2, abs=0.1)
    assert around["width"] == pytest.approx(square["width"] + 4, abs=0.1)


def test_arrow_keys_go_from_value_to_value_and_are_read_out(chromium: Chromium, page: Path) -> None:
    opened = chromium.open(page)
    plot = opened.locator(".plot", has=opened.locator("[id$='importance-0']"))
    plot.focus()
    for key, said in (
        ("Home", "L0H0 by one"),
        ("ArrowRight", "L0H1 by one"),
        ("ArrowDown", "L1H1 by one"),
        ("ArrowLeft", "L1H0 by one"),
    ):
        opened.keyboard.press(key)
        assert opened.locator("[role=status]").inner_text().startswith(said), key
    opened.keyboard.press("Escape")
    assert opened.locator(".bubble").is_hidden()


def test_values_are_there_without_scripts(chromium: Chromium, page: Path) -> None:
    opened = chromium.open(page, has_scripts=False)
    words = opened.locator("[id='figure_toy_task-curve-1'] .mark title").all_text_contents()
    assert words[0].startswith("two, 0.25 pruned: token perplexity 21.00 (95% over documents: ")
    assert opened.locator(".arms li").first.inner_text() == "one"


def test_name_in_a_legend_hides_and_shows_its_curve(chromium: Chromium, page: Path) -> None:
    opened = chromium.open(page)
    curve = opened.locator("[id='figure_toy_task-curve-1']")
    button = opened.locator("figure", has=curve).get_by_role("button", name="two", exact=True)
    assert curve.is_visible()
    button.focus()
    opened.keyboard.press("Enter")
    assert curve.is_hidden()
    assert opened.locator("[id='figure_toy_task-bars-1']").is_hidden()
    assert button.get_attribute("aria-pressed") == "false"
    opened.keyboard.press("Space")
    assert curve.is_visible()


def test_table_sorts_by_keyboard_as_numbers_and_back(chromium: Chromium, page: Path) -> None:
    opened = chromium.open(page)
    table = opened.get_by_role("region", name="Results on toy_task")
    head = table.get_by_role("columnheader", name="token_perplexity")
    values = table.locator("tbody td:nth-child(3)")
    before = values.all_inner_texts()
    head.get_by_role("button").focus()
    seen = []
    for order in ("ascending", "descending", "none"):
        opened.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == order
        seen.append([text.split(" ")[0] for text in values.all_inner_texts()])
    assert seen[0] == ["20.00", "21.00", "22.00", "24.00", "30.00", "not", "not"]
    assert seen[1] == ["30.00", "24.00", "22.00", "21.00", "20.00", "not", "not"]
    assert values.all_inner_texts() == before


def test_table_is_saved_as_csv_with_full_values(chromium: Chromium, page: Path) -> None:
    opened = chromium.open(page)
    with opened.expect_download() as waiting:
        opened.get_by_role("button", name="Save as CSV: Results on toy_task").click()
    lines = Path(waiting.value.path()).read_text().splitlines()
    assert lines[0].startswith("scorer,fraction,token_perplexity ±,interval,")
    assert lines[2].startswith("one,0.25,22.00 ± 0.50,21.02 to 22.98,1.1,")


def test_text_that_steers_is_text(chromium: Chromium, page: Path) -> None:
    opened = chromium.open(page)
    assert opened.locator("main b").count() == 0
    assert "␛[2J<b>out of memory</b>" in opened.locator("main").inner_text()


def test_page_has_one_heading_of_its_own_and_names_every_region(
    chromium: Chromium, page: Path
) -> None:
    opened = chromium.open(page)
    assert opened.locator("h1").count() == 1
    names = opened.locator("[role=region]").evaluate_all("all => all.map(one => one.ariaLabel)")
    assert names
    assert all(names)
    content = json.loads((page.parent / "report.json").read_text())
    assert content["synthetic_data"]
    assert "synthetic data" in opened.locator("h1").inner_text()
