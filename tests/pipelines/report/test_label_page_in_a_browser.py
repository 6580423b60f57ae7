"""The labelling page in headless Chromium: labelled by keys, reloaded, continued, saved."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from pathlib import Path

import duckdb
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.report.label_page import render_label_page
from tests.pipelines.report.test_report_in_a_browser import BROWSER, browse, complaints

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
PAIRS = pa.table(
    {
        "pair": [f"{n:016x}" for n in range(20)],
        "sentence1": [f'花呗怎么还款 "{n}", <b>' for n in range(20)],
        "sentence2": [f"how do I pay, {n}\nplease" for n in range(20)],
        "similarity": [n / 20 for n in range(20)],
        "predicted": pa.array([int(n >= 10) for n in range(20)], pa.int64()),
        "chosen_for": ["random", "uncertain"] * 10,
    }
)
KEYS = ["1", "0", "u", "y", "n", "j", "f", "1", "1", "0"]  # the first ten answers
MEANT = [1, 0, None, 1, 0, 1, 0, 1, 1, 0]
# Another page holds the page in a frame: it presses keys, reloads, and reads what is there.
DRIVER = """<!doctype html><title></title>
<iframe src="label.html" width="WIDTH" height="800"></iframe>
<pre id="out"></pre><script>
const frame = document.querySelector("iframe"), out = {};
const press = (key) => frame.contentDocument.dispatchEvent(new KeyboardEvent("keydown", { key }));
const text = (id) => frame.contentDocument.getElementById(id).textContent;
const steps = [STEPS];
frame.onload = async () => { const step = steps.shift(); if (!step) return; await step();
  if (steps.length) frame.contentWindow.location.reload();
  else document.getElementById("out").textContent = JSON.stringify(out); };
</script>"""


def drive(
    folder: Path,
    steps: str,
    width: int = 1000,
    *flags: str,
    pairs: pa.Table = PAIRS,
    head: str = "",
) -> dict:
    written = render_label_page(pairs, "abc").replace("</head>", f"{head}</head>")
    (folder / "label.html").write_text(written, encoding="utf-8")
    page = folder / "driver.html"
    page.write_text(DRIVER.replace("STEPS", steps).replace("WIDTH", str(width)), encoding="utf-8")
    done = browse(
        page, "--dump-dom", "--allow-file-access-from-files", "--virtual-time-budget=20000", *flags
    )
    assert complaints(done) == []
    return json.loads(html.unescape(re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.S)[1]))


# What the buttons give to the browser to download.
SAVED = """const saved = [], page = frame.contentWindow;
  page.HTMLAnchorElement.prototype.click = () => {};
  page.Blob = function (parts) { saved.push(parts[0]); };
  page.URL.createObjectURL = () => "blob:";
  press("s"); frame.contentDocument.getElementById("csv").click();
  out.parquet = btoa(String.fromCharCode(...saved[0])); out.csv = saved[1];"""


def test_twenty_pairs_by_keys_a_reload_in_between_and_what_is_saved(tmp_path: Path):
    first = "".join(f"press('{key}');" for key in KEYS)
    steps = f"""async () => {{ {first} out.half = text("count"); }},
      async () => {{ out.reloaded = text("count"); out.sentence = text("first");
        press("ArrowLeft"); press("0"); press("Backspace"); press("1");
        for (let n = 10; n < 20; n++) press("0");
        out.end = text("count"); out.message = text("answer"); {SAVED} }}"""
    found = drive(tmp_path, steps)
    table = pq.read_table(io.BytesIO(base64.b64decode(found["parquet"]))).to_pandas()
    expected = [*MEANT[:9], 1, *[0] * 10]  # the tenth was changed twice
    kept = [n for n, each in enumerate(expected) if each is not None]

    assert (found["half"], found["reloaded"]) == ("11 / 20 · 10 ✓",) * 2
    assert found["sentence"] == '花呗怎么还款 "10", <b>'
    assert found["end"] == "20 / 20 · 20 ✓" and "All pairs have an answer" in found["message"]
    assert table["label"].tolist() == [expected[n] for n in kept]
    for name in ("sentence1", "sentence2", "pair", "chosen_for", "similarity", "predicted"):
        assert table[name].tolist() == [PAIRS[name][n].as_py() for n in kept]
    assert table["label"].dtype == "int64"
    (tmp_path / "labels.parquet").write_bytes(base64.b64decode(found["parquet"]))
    rows = duckdb.sql(f"select sentence1, label from '{tmp_path}/labels.parquet'").fetchall()
    assert rows == list(zip(table["sentence1"], table["label"], strict=True))
    assert pd.read_parquet(tmp_path / "labels.parquet").equals(table)
    assert polars.read_parquet(tmp_path / "labels.parquet").rows() == [
        tuple(row) for row in table.itertuples(index=False)
    ]
    assert found["csv"].startswith("\ufeff")  # so that spreadsheets read it as UTF-8
    text = pd.read_csv(
        io.StringIO(found["csv"].removeprefix("\ufeff"), newline=""),
        dtype=str,
        keep_default_na=False,
    )
    assert text["sentence2"].tolist() == PAIRS["sentence2"].to_pylist()
    assert text["label"].tolist() == ["" if each is None else str(each) for each in expected]


def test_the_models_opinion_is_hidden_until_asked_for_and_hidden_again(tmp_path: Path):
    steps = """async () => { out.before = text("answer"); press("m"); out.model = text("answer");
      press("ArrowRight"); out.next = text("answer"); press("1"); press("ArrowLeft");
      out.mine = text("answer"); }"""
    found = drive(tmp_path, steps)

    assert found["before"] == found["next"] == ""
    assert found["model"] == "The model: not the same (0.000)"
    assert found["mine"] == "Your answer: same"


def test_chinese_and_english(tmp_path: Path):
    steps = """async () => { out.english = text("title");
      frame.contentDocument.getElementById("language").click(); out.chinese = text("title"); },
      async () => { out.kept = text("title");
        out.lang = frame.contentDocument.documentElement.lang; }"""
    found = drive(tmp_path, steps, 1000, "--lang=en-US")

    assert found == {
        "english": "Do both say the same?", "chinese": "两句话意思相同吗？",
        "kept": "两句话意思相同吗？", "lang": "zh-CN",
    }  # fmt: skip


@pytest.mark.parametrize("width", [360, 1200])
def test_it_fits_a_phone(tmp_path: Path, width: int):
    steps = """async () => { const d = frame.contentDocument.documentElement;
      out.sizes = [d.scrollWidth, d.clientWidth];
      out.buttons = [...frame.contentDocument.querySelectorAll(".buttons button")].map(
        (each) => each.getBoundingClientRect().height); }"""
    found = drive(tmp_path, steps, width)

    assert found["sizes"][0] <= found["sizes"][1] <= width
    assert min(found["buttons"]) >= 44  # what a thumb needs


def test_a_button_saves_a_file_named_by_the_time(tmp_path: Path):
    steps = """async () => { let name; const frames = frame.contentWindow;
      frames.HTMLAnchorElement.prototype.click = function () { name = this.download; };
      const save = frame.contentDocument.getElementById("save"); out.before = save.disabled;
      press("1"); save.click(); out.labels = name;
      frame.contentDocument.getElementById("csv").click(); out.csv = name; }"""
    found = drive(tmp_path, steps)

    assert found["before"] is True  # nothing to save yet
    assert re.fullmatch(r"labels-abc-20\d{6}-\d{6}\.parquet", found["labels"])
    assert re.fullmatch(r"labels-abc-20\d{6}-\d{6}\.csv", found["csv"])


def test_two_selections_and_two_tabs_of_one(tmp_path: Path):
    other = PAIRS.set_column(0, "pair", [PAIRS["pair"].to_pylist()])
    (tmp_path / "other.html").write_text(render_label_page(other, "def"), encoding="utf-8")
    steps = """async () => { press("1"); press("0");
        const open = (name) => new Promise((done) => {
          const made = document.createElement("iframe");
          made.src = name; made.onload = () => done(made); document.body.append(made); });
        const textOf = (from, id) => from.contentDocument.getElementById(id).textContent;
        const key = (to, key) =>
          to.contentDocument.dispatchEvent(new KeyboardEvent("keydown", { key }));
        const other = await open("other.html"), tab = await open("label.html");
        out.other = textOf(other, "count"); out.tab = textOf(tab, "count");
        key(other, "1"); key(tab, "u"); press("1");
        key(tab, "ArrowLeft"); out.kept = textOf(tab, "answer"); },
      async () => { out.count = text("count"); press("ArrowLeft"); press("ArrowLeft");
        press("ArrowLeft"); out.first = text("answer"); press("ArrowRight");
        out.second = text("answer"); press("ArrowRight"); out.third = text("answer"); }"""
    found = drive(tmp_path, steps)

    assert found["other"] == "1 / 20 · 0 ✓" and found["tab"] == "3 / 20 · 2 ✓"
    # Both tabs answered the third pair: what came last stays, and nothing else is lost.
    assert found["count"].endswith("· 3 ✓")
    assert found["first"] == "Your answer: same" and found["second"] == "Your answer: not the same"
    assert found["third"] == "Your answer: same"


FORBIDDEN = """<script>Object.defineProperty(window, "localStorage",
  { get() { throw new DOMException("denied", "SecurityError"); } });</script>"""


def test_a_browser_that_keeps_nothing_is_reported_on_the_page(tmp_path: Path):
    steps = f"""async () => {{ const alarm = frame.contentDocument.getElementById("alarm");
      press("1"); press("0"); out.shown = !alarm.hidden; out.warning = alarm.textContent;
      out.count = text("count"); {SAVED} }}"""
    found = drive(tmp_path, steps, head=FORBIDDEN)
    table = pq.read_table(io.BytesIO(base64.b64decode(found["parquet"])))

    assert found["shown"] and "cannot store answers" in found["warning"]
    assert found["count"] == "3 / 20 · 2 ✓" and table["label"].to_pylist() == [1, 0]


def test_storage_that_is_full_is_reported_and_forgotten_once_there_is_room(tmp_path: Path):
    steps = """async () => { const alarm = frame.contentDocument.getElementById("alarm");
      const storage = frame.contentWindow.Storage.prototype, set = storage.setItem;
      press("1"); out.before = alarm.hidden;
      storage.setItem = () => { throw new DOMException("full", "QuotaExceededError"); };
      press("0"); out.full = alarm.hidden; storage.setItem = set;
      press("1"); out.after = alarm.hidden; },
      async () => { out.count = text("count"); }"""
    found = drive(tmp_path, steps)

    assert (found["before"], found["full"], found["after"]) == (True, False, True)
    assert found["count"] == "4 / 20 · 3 ✓"


@pytest.mark.parametrize("kept", ["not JSON", "null", "[]", '{"answers": null, "place": "x"}'])
def test_what_was_kept_and_cannot_be_read_is_left_behind(tmp_path: Path, kept: str):
    head = f"<script>localStorage.setItem('twinbeam-label-abc', {json.dumps(kept)});</script>"
    steps = 'async () => { press("1"); out.count = text("count"); }'

    assert drive(tmp_path, steps, head=head) == {"count": "2 / 20 · 1 ✓"}


def test_pairs_that_were_passed_over_come_back_after_the_last(tmp_path: Path):
    steps = """async () => { press("1"); press("ArrowRight");
      for (let n = 2; n < 20; n++) press("0");
      out.count = text("count"); press("1"); out.message = text("answer"); }"""
    found = drive(tmp_path, steps)

    assert found["count"] == "2 / 20 · 19 ✓"


@pytest.mark.parametrize("width", [390, 1000])
def test_long_sentences_other_scripts_and_emoji(tmp_path: Path, width: int):
    texts = ["word " * 300, "كيف أستعيد كلمة المرور؟", "👩🏽‍🚀" * 60, "x" * 2_000]
    pairs = PAIRS.slice(0, 4).set_column(1, "sentence1", [texts])
    steps = """async () => { const page = frame.contentDocument; out.seen = [];
      for (let n = 0; n < 4; n++) {
        const first = page.getElementById("first"), box = page.querySelector(".buttons");
        out.seen.push([frame.contentWindow.getComputedStyle(first).direction,
          page.documentElement.scrollWidth <= page.documentElement.clientWidth,
          box.getBoundingClientRect().bottom <= frame.clientHeight]);
        press("1"); } }"""
    found = drive(tmp_path, steps, width, pairs=pairs)

    assert [each[0] for each in found["seen"]] == ["ltr", "rtl", "ltr", "ltr"]
    assert all(fits and in_sight for _, fits, in_sight in found["seen"])
