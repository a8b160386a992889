"""The page in a real browser: mouse, keyboard, scorers, texts, export; and that nothing leaves."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from transformers import GPT2Config, GPT2LMHeadModel

from sentinel_research.explorer.opening import open_session
from sentinel_research.explorer.shelf import Shelf
from sentinel_research.models import save, structure_of
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.progress import Silent
from sentinel_research.pruning import make_plan, remove
from sentinel_research.recipe import load_recipe
from tests.browser import Chromium
from tests.explorer.conftest import Server, request

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("browser")]
# of a machine that is busy with other tests
expect.set_options(timeout=20_000)
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202e</script><script>alert(2)</script>"
# every text with its colours and those behind it, as the reader sees them
CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const luminance = (colour) => [...rgb(colour)].slice(0, 3).reduce((sum, value, at) => {
    const share = value / 255;
    const linear = share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    return sum + [0.2126, 0.7152, 0.0722][at] * linear;
  }, 0);
  const behind = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (rgb(colour)[3] > 0) return colour;
    }
    return "white";
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.closest("svg")) continue;
    if (node.closest(":disabled") || node.matches(".skip, option")) continue;
    const [a, b] = [luminance(getComputedStyle(node).color), luminance(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.push([ratio, walker.currentNode.data.trim().slice(0, 40), node.className]);
  }
  return found;
}"""


@pytest.fixture
def page(chromium: Chromium, server: Server) -> Iterator[Page]:
    """The page of a session in which nothing was done; it never complains nor asks others."""
    found = _open(chromium, server)
    yield found
    assert chromium.complaints == []
    assert [one for one in chromium.requests if not one.startswith(server.address)] == []


def _open(chromium: Chromium, server: Server, **options: object) -> Page:
    found = chromium.open(server.address, **options)  # type: ignore[arg-type]
    found.wait_for_selector("body[data-ready]")
    return found


def _wait_until_measured(page: Page) -> None:
    page.wait_for_selector('#effect[aria-busy="false"]')


def test_every_head_and_block_is_a_button_that_says_what_it_is(page: Page) -> None:
    assert page.locator(".cell").count() == 3 * 5
    assert page.locator(".block").count() == 3 * 2
    label = page.locator('[data-units="L1H3"]').get_attribute("aria-label")
    assert label is not None
    assert re.fullmatch(r"layer 1, head 3, leave_one_out -?[\d.]+", label)
    expect(page.locator("#name")).to_have_text("gpt2")
    assert len(page.locator("#ranks button").all()) == 8


def test_click_takes_a_head_out_and_shows_what_that_does(page: Page, server: Server) -> None:
    head = page.locator('[data-units="L0H1"]')
    head.click()
    expect(head).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#effect-title")).to_have_text("Without 1 head")
    _wait_until_measured(page)
    state = server.session.state()
    text = page.locator("#effect").inner_text().replace("\u2212", "-")
    assert f"{state['predicted']['total']:+.3f}" in text
    assert f"{state['measured']['loss']['gained']:+.4f}" in text
    assert f"{state['expected']['parameters']:,}" in text
    assert "the prediction is off by" in text
    middle, low, high = state["measured"]["speed"]["prefill"]
    assert f"{middle:.2f}\u00d7 [{low:.2f}, {high:.2f}]" in text
    expect(page.locator("#tried tbody tr")).to_have_count(1)
    head.click()
    expect(head).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#effect-title")).to_have_text("The whole model")


def test_everything_can_be_done_with_the_keyboard(page: Page, server: Server) -> None:
    page.locator('[data-units="L0.attention L0.ffn"]').focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "Space"):
        page.keyboard.press(key)
    expect(page.locator('[data-units="L1H1"]')).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#detail")).to_contain_text("L1H1")
    # one stop for the whole map
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    expect(page.locator('[data-units="L1H1"]')).to_be_focused()
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    expect(page.locator("#neurons-count")).to_be_focused()
    page.keyboard.type("5")
    page.keyboard.press("Enter")
    expect(page.locator(".dot[aria-pressed=true]")).to_have_count(5)
    page.keyboard.press("Escape")
    expect(page.locator("#neurons")).to_be_hidden()
    expect(page.locator('[data-neurons="1"]')).to_be_focused()
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    expect(page.locator("#effect-title")).to_have_text("The whole model")
    page.keyboard.press("Control+Shift+Z")
    expect(page.locator("#effect-title")).to_have_text("Without 1 head")
    assert server.session.state()["removed"] == ["L1H1"]


def test_neurons_are_taken_out_one_by_one_with_arrows_along_the_shown_rows(
    page: Page, server: Server
) -> None:
    page.locator('[data-neurons="2"]').click()
    dots = page.locator(".dot")
    expect(dots).to_have_count(37)
    dots.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(dots.nth(1)).to_have_attribute("aria-pressed", "true")
    assert server.session.state()["removed"] == ["L2N1"]
    expect(page.locator('[data-neurons="2"]')).to_contain_text("36 neurons")


def test_scorer_and_share_choose_units_and_another_scorer_others(
    page: Page, server: Server
) -> None:
    page.locator("#fraction").fill("40")
    expect(page.locator(".cell[aria-pressed=true]")).to_have_count(6)
    first = server.session.state()["removed"]
    page.locator("#scorer").select_option("magnitude_l1")
    expect(page.locator("#summary")).to_contain_text("norm")
    expect(page.locator("#tried tbody tr")).to_have_count(2)
    state = server.session.state()
    assert state["asked"] == {
        "scorer": "magnitude_l1", "kind": "head", "fraction": 0.4, "scope": "global", "seed": 0
    }  # fmt: skip
    assert state["removed"] != first
    page.locator("#kind").select_option("ffn")
    page.locator("#fraction").fill("34")
    expect(page.locator(".block[aria-pressed=true]")).to_have_count(1)


def test_exported_file_is_a_recipe_of_the_choice(page: Page, tmp_path: Path) -> None:
    expect(page.locator("#export")).to_be_disabled()
    page.locator('[data-units="L2.ffn"]').click()
    expect(page.locator("#export")).to_be_enabled()
    with page.expect_download() as download:
        page.locator("#export").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    recipe = load_recipe(str(path)).recipe
    assert recipe.prune is not None
    assert recipe.prune.units == ("L2.ffn",)
    expect(page.locator("#exported")).to_contain_text(f"sentinel run {path.name}")


def test_both_models_write_and_where_they_part_is_marked(page: Page, server: Server) -> None:
    page.locator("#prompt").fill("green")
    page.locator("#tokens").fill("8")
    page.locator("#writing button").click()
    expect(page.locator("#text-whole")).to_contain_text("green")
    page.locator('[data-units="L0.attention L0.ffn"]').click()
    expect(page.locator("#text-pruned mark")).to_have_count(1)
    texts = server.session.state()["texts"]
    for name in ("whole", "pruned"):
        shown = page.locator(f"#text-{name}").evaluate("node => node.textContent")
        assert shown == f"green{texts[name]}"


def test_hostile_text_of_a_model_stays_text(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sentinel_research.explorer.writing.write_continuations", lambda *_: [[[0]]]
    )
    monkeypatch.setattr("transformers.PreTrainedTokenizerBase.decode", lambda *_, **__: HOSTILE)
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page.locator("#prompt").fill("<b>&amp;")
    page.locator("#writing button").click()
    shown = page.locator("#text-pruned")
    expect(shown).to_contain_text("onerror=alert(1)")
    text = shown.evaluate("node => node.textContent")
    assert text.startswith("<b>&amp;<img src=x")
    assert "\u241b[31m<U+202E></script>" in text
    assert page.locator("pre img, pre script, pre b").count() == 0


def test_what_was_wrong_is_said_on_the_page(chromium: Chromium, server: Server) -> None:
    page = _open(chromium, server)
    page.locator("#kind").select_option("neuron")
    for layer in range(3):
        page.locator(f'[data-units="L{layer}.attention L{layer}.ffn"]').click()
    expect(page.locator("#problem")).to_contain_text("plan removes everything")
    assert server.session.state()["counts"] == {"attention": 2, "ffn": 2}
    page.locator("#undo").click()
    expect(page.locator("#problem")).to_be_hidden()
    # the browser says of every refused request that it was
    assert all("400" in one for one in chromium.complaints)


def test_every_text_can_be_read_by_day_and_night_and_on_a_phone(page: Page) -> None:
    for name in ("L0H1", "L1.ffn", "L2.attention"):
        page.locator(f'[data-units="{name}"]').click()
    page.locator('[data-neurons="0"]').click()
    page.locator("#writing button").click()
    page.locator("summary").click()
    _wait_until_measured(page)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        found = page.evaluate(CONTRASTS)
        assert len(found) > 80
        assert [one for one in found if one[0] < 4.5] == [], scheme
    page.set_viewport_size({"width": 360, "height": 780})
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    # what a choice does stands right below the map
    places = [page.locator(one).bounding_box() for one in ("#map", "#effect", "#writing")]
    tops = [place["y"] for place in places if place is not None]
    assert tops == sorted(tops)


def test_two_pages_of_one_session_show_the_same(
    chromium: Chromium, page: Page, server: Server
) -> None:
    page.locator("#fraction").fill("20")
    expect(page.locator(".cell[aria-pressed=true]")).to_have_count(3)
    other = _open(chromium, server)
    expect(other.locator("#share")).to_have_text("20 %")
    server.session.show([])
    page.locator('[data-units="L0H2"]').click()
    expect(other.locator('[data-units="L0H2"]')).to_have_attribute("aria-pressed", "true")


def test_a_row_of_twelve_heads_and_thousands_of_neurons_fits_a_usual_window(
    chromium: Chromium, folder: Path, tmp_path: Path
) -> None:
    tokenizer = byte_tokenizer()
    config = GPT2Config(
        n_layer=1, n_head=12, n_embd=12, n_inner=3072, n_positions=64, vocab_size=len(tokenizer)
    )
    save(GPT2LMHeadModel(config), tokenizer, tmp_path / "wide")
    spec = request(folder, str(tmp_path / "wide"))
    server = Server(open_session(spec, Silent(), Shelf(tmp_path / "shelf")))
    with contextlib.closing(server):
        page = _open(chromium, server)
        assert page.locator(".cell").count() == 12
        widths = "(map) => [map.scrollWidth, map.clientWidth]"
        needed, there = page.locator(".map").evaluate(widths)
        assert needed <= there
        expect(page.locator('[data-neurons="0"]')).to_contain_text("3,072 neurons")


def test_grouped_heads_and_missing_parts_have_their_places(
    chromium: Chromium, folder: Path, tmp_path: Path
) -> None:
    model = tiny_model("llama")
    structure = structure_of(model.config)
    heads = [[0, 4, 5], [7], list(range(8))]
    neurons = [range(37), range(37), [0, 3, 36]]
    plan = make_plan(structure, heads, neurons=neurons, without={"ffn": [1]})
    save(remove(model, plan), byte_tokenizer(), tmp_path / "ragged")
    spec = request(folder, str(tmp_path / "ragged"))
    server = Server(open_session(spec, Silent(), Shelf(tmp_path / "shelf")))
    with contextlib.closing(server):
        page = _open(chromium, server)
        assert page.locator(".cell").count() == 3 + 1 + 8
        assert page.locator('[data-units="L1.ffn"]').count() == 0
        page.locator("#kind").select_option("kv_group")
        page.locator('[data-neurons="2"]').click()
        page.locator('[data-unit="L2N36"]').click()
        expect(page.locator('[data-neurons="2"]')).to_contain_text("2 neurons")
        page.locator('[data-units="L1H7"]').click()
        expect(page.locator("#effect-title")).to_have_text("Without 1 head, 1 neuron")
        assert server.session.state()["removed"] == ["L1H7", "L2N36"]
        assert chromium.complaints == []
