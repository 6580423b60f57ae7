"""What is let in: a bundle only byte for byte, recipes as plain data, and no code from either."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.bundle import export, loading
from model.recipe import reading
from pipelines.scoring import plan_scores
from tests.scoring_kit import EqualBundle, pairs, run_score, write
from transforms.accounts import output_folder
from transforms.accounts.staging import stage
from transforms.errors import UserError
from transforms.input.footers import read_footer
from transforms.input.shards import plan
from transforms.pairs import PairColumns, check_schema

ROOT = Path(__file__).parents[2]
OURS = [
    path for name in ("pipelines", "transforms", "model") for path in (ROOT / name).glob("*.py")
]
RECIPE = (ROOT / "model/recipe/builtin" / "char-bilstm-manhattan.yaml").read_text()
FUZZ_SECONDS = float(os.environ.get("TWINBEAM_FUZZ_SECONDS", "0"))

pytestmark = pytest.mark.timeout(120 + 2 * FUZZ_SECONDS)


@pytest.fixture
def sealed(tmp_path) -> Path:
    """A folder with a bundle's papers and sums, and noise for a model: enough to be verified."""
    local = tmp_path / "local"
    (local / "saved_model" / "variables").mkdir(parents=True)
    (local / "saved_model" / "saved_model.pb").write_bytes(bytes(range(256)))
    (local / "saved_model" / "variables" / "variables.index").write_bytes(b"noise")
    (local / "recipe.yaml").write_text(RECIPE)
    export.publish_bundle(
        local, stage(str(tmp_path / "bundle"), overwrite=False), {"dimensions": 2, "versions": {}}
    )
    return tmp_path / "bundle"


def score_command(model: Path, folder: Path, *flags: str) -> subprocess.CompletedProcess:
    """The command, with TensorFlow made unimportable."""
    source = write(folder / "in.parquet", pairs(3))
    code = (
        "import sys; sys.modules['tensorflow'] = None; from pipelines import score; "
        "raise SystemExit(score.main())"
    )
    flags = ("--input", str(source), "--model", str(model), "--output", str(folder / "out"), *flags)
    return subprocess.run(
        [sys.executable, "-c", code, *flags], cwd=ROOT, capture_output=True, text=True
    )


def test_a_changed_bundle_is_refused_before_tensorflow_is_imported(sealed, tmp_path):
    victim = sealed / "saved_model" / "saved_model.pb"
    victim.write_bytes(victim.read_bytes()[:-1] + b"\x00")
    ended = score_command(sealed, tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        f"twinbeam: bundle {sealed}: saved_model/saved_model.pb was changed; take a fresh copy"
    ]


def test_one_byte_anywhere_is_noticed(sealed):
    """Every byte of the manifest, and bytes all over the other files, each flipped in turn."""
    loading.verify(str(sealed))
    tried = 0
    for path in sorted(p for p in sealed.rglob("*") if p.is_file()):
        content = path.read_bytes()
        places = range(len(content)) if path.name == "manifest.json" else range(0, len(content), 97)
        for place in places:
            changed = bytearray(content)
            changed[place] ^= 0x01
            path.write_bytes(changed)
            with pytest.raises(UserError):
                loading.verify(str(sealed))
            tried += 1
        path.write_bytes(content)
    loading.verify(str(sealed))
    assert tried > 400


@pytest.mark.parametrize(
    "name", ["evil.pkl", "saved_model/evil.keras", ".hidden", "saved_model/a/b"]
)
def test_a_file_that_does_not_belong_to_the_bundle_is_refused(sealed, name):
    (sealed / name).parent.mkdir(exist_ok=True)
    (sealed / name).write_bytes(pickle.dumps(print))
    with pytest.raises(UserError, match="does not belong to it"):
        loading.verify(str(sealed))


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "saved_model/../../outside"])
def test_a_path_out_of_the_folder_is_refused(sealed, name):
    (sealed.parent / "outside").write_text("x")
    path = sealed / "manifest.json"
    content = json.loads(path.read_text())
    content["files"][name] = hashlib.sha256(b"x").hexdigest()
    del content["fingerprint"]
    sealed_again = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    whole = {"fingerprint": sealed_again, **content}
    path.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
    with pytest.raises(UserError, match="is missing"):
        loading.verify(str(sealed))


def test_a_pinned_bundle(sealed, tmp_path, monkeypatch):
    monkeypatch.setattr(plan_scores, "BundleScorer", EqualBundle)
    source = write(tmp_path / "in.parquet", pairs(3))
    run_score(source, tmp_path / "out", "--model_sha256=abc", model="abc")
    with pytest.raises(UserError, match="expected --model_sha256 abc"):
        run_score(source, tmp_path / "other", "--model_sha256=abc", model="abd")
    assert not (tmp_path / "other").exists()


def test_the_pin_is_the_manifests_fingerprint_and_checked_on_a_real_folder(sealed, tmp_path):
    ended = score_command(sealed, tmp_path, "--model_sha256", "0" * 64)
    fingerprint = loading.verify(str(sealed))["fingerprint"]
    assert ended.returncode == 2 and f"has the fingerprint {fingerprint}" in ended.stderr


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch PROOF']",
        "name: !!python/name:os.system",
        "name: &a [*a]",
        "!!python/object/new:subprocess.Popen [['touch', 'PROOF']]",
        RECIPE.replace("kind: bilstm", "kind: lambda, code: print"),
        RECIPE + "\nlayers: [{class_name: Lambda, config: {function: evil}}]",
    ],
)
def test_a_recipe_runs_no_code(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        reading.read_recipe(text, source="recipe.yaml")
    assert list(tmp_path.iterdir()) == []


def test_a_real_bundle_is_opened_without_pickle_or_a_keras_config(tiny, monkeypatch):
    import keras

    def never(*_, **__):
        raise AssertionError("code or objects would come from a file")

    monkeypatch.setattr(pickle, "loads", never)
    monkeypatch.setattr(pickle, "load", never)
    monkeypatch.setattr(yaml, "unsafe_load", never)
    monkeypatch.setattr(keras.saving, "load_model", never)
    monkeypatch.setattr(keras.saving, "deserialize_keras_object", never)
    monkeypatch.setattr(keras.layers.Lambda, "from_config", never)
    assert loading.load(tiny.bundle).dimensions == 8


def test_nothing_of_ours_reads_objects_or_code_from_files():
    """No import of an unpickler, no call that could run what a file names."""
    modules = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
    calls = {"eval", "exec", "__import__", "unsafe_load", "full_load", "load_model", "from_config"}
    for path in OURS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {getattr(node, "module", "") or "", *(alias.name for alias in node.names)}
                assert not names & modules, path
            if isinstance(node, ast.Call):
                called = getattr(node.func, "id", None)
                if not isinstance(node.func, ast.Name):
                    called = getattr(node.func, "attr", None) if not _of_model(node.func) else None
                assert called not in calls, f"{path}:{node.lineno} calls {called}"
                allowed = [k.value for k in node.keywords if k.arg == "allow_pickle"]
                assert all(isinstance(v, ast.Constant) and v.value is False for v in allowed), path


def _of_model(function: ast.expr) -> bool:
    """`model.eval()` and the like of our own are no `eval`."""
    return isinstance(function, ast.Attribute) and function.attr in ("eval", "exec")


# --- what people and logs are told --------------------------------------------------------------


def test_row_contents_never_reach_logs_manifests_or_details(tmp_path, monkeypatch, capfd):
    """Every sentence holds a mark; it may stand in Parquet columns of ours, and nowhere else."""
    mark = "c0ffee-secret"
    monkeypatch.setattr(plan_scores, "BundleScorer", EqualBundle)

    class Quoting(EqualBundle):
        def load(self):
            scorer = super().load()

            def failing(side1, side2, good=scorer.score):
                for text in side1.to_pylist():
                    if text.endswith("9"):
                        raise ValueError(f"cannot score {text}")
                return good(side1, side2)

            scorer.score = failing
            return scorer

    monkeypatch.setattr(plan_scores, "BundleScorer", Quoting)
    table = pairs(40)
    marked = [f"{mark} {text}" for text in table["sentence1"].to_pylist()]
    marked[3], marked[4] = None, mark * 2000
    write(tmp_path / "in.parquet", table.set_column(1, "sentence1", [marked]))
    run_score(tmp_path / "in.parquet", tmp_path / "out", "--max_reject_fraction=1")
    printed = capfd.readouterr()
    assert mark not in printed.out + printed.err
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file() and path.suffix not in (".parquet", ".rejected"):
            assert mark not in path.read_text()
    rejected = pq.read_table(tmp_path / "out" / "_rejects")
    assert rejected.num_rows == 6
    assert not any(mark in detail for detail in rejected["reject_detail"].to_pylist())


# --- fuzz ---------------------------------------------------------------------------------------


def for_seconds(cases: st.SearchStrategy, check: Callable, examples: int) -> None:
    """Runs a Hypothesis test once, or again with new cases for as long as is asked for."""
    until, seed, tried = time.monotonic() + FUZZ_SECONDS, 0, 0
    while seed == 0 or time.monotonic() < until:
        fresh = settings(
            max_examples=examples, deadline=None, derandomize=seed == 0,
            suppress_health_check=list(HealthCheck), database=None,
        )  # fmt: skip
        fresh(given(cases)(lambda case: check(case)))()
        seed += 1
        tried += examples
    print(f"{tried:,} cases")


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """A file with some bytes overwritten, taken out or put in."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        piece = draw(st.binary(min_size=0, max_size=8))
        data[place : place + draw(st.integers(0, 8))] = piece
    return bytes(data)


def only_our_errors(read: Callable[[], object]) -> None:
    try:
        read()
    except UserError as error:
        assert str(error).strip()


def test_fuzz_recipes():
    keys = st.sampled_from(
        ["name", "text", "encoder", "kind", "labels", "training", "loss", "task"]
    )
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    trees = st.recursive(
        leaves, lambda s: st.lists(s, max_size=4) | st.dictionaries(keys, s, max_size=5)
    )
    texts = damaged(RECIPE.encode()) | trees.map(lambda t: yaml.safe_dump(t).encode()) | st.binary()

    def check(content):
        only_our_errors(lambda: reading.read_recipe(content, source="recipe.yaml"))

    for_seconds(texts, check, 150)


def test_fuzz_manifests_of_bundles(sealed):
    path = sealed / "manifest.json"
    whole = path.read_bytes()

    def check(content):
        path.write_bytes(content)
        if content != whole:
            with pytest.raises(UserError):
                loading.verify(str(sealed))

    for_seconds(damaged(whole) | st.binary(), check, 100)


def test_fuzz_accounts_and_plans(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_scores, "BundleScorer", EqualBundle)
    source, output = write(tmp_path / "in.parquet", pairs(4)), tmp_path / "out"
    run_score(source, output)
    planned = plan([str(source)], PairColumns(), shard_rows=131_072).shards
    whole = {
        path: path.read_bytes() for path in (*output.glob("_shards/*"), output / "_manifest.json")
    }
    json_values = st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda s: (
            st.lists(s, max_size=3) | st.dictionaries(st.sampled_from(["shards", "files"]), s)
        ),
    )

    def check(data):
        for path, content in whole.items():
            path.write_bytes(content)
        path = data.draw(st.sampled_from(sorted(whole)))
        path.write_bytes(
            data.draw(damaged(whole[path]) | json_values.map(lambda v: json.dumps(v).encode()))
        )
        only_our_errors(
            lambda: output_folder.open_output(str(output), planned, "key", overwrite=False)
        )

    for_seconds(st.data(), check, 80)


def test_fuzz_footers(tmp_path):
    path = tmp_path / "in.parquet"
    whole = write(path, pairs(5)).read_bytes()
    length = int.from_bytes(whole[-8:-4], "little")
    head, footer, tail = whole[: -8 - length], whole[-8 - length : -8], whole[-8:]

    def join(new: bytes) -> bytes:
        return head + new + len(new).to_bytes(4, "little") + tail[4:]

    def check(content):
        path.write_bytes(content)
        only_our_errors(
            lambda: check_schema(read_footer(str(path)).schema, PairColumns(), str(path))
        )

    for_seconds(damaged(footer).map(join) | damaged(whole) | st.binary(), check, 200)
