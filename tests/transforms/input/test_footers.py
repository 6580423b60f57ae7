"""What is no Parquet is refused with what to do, in the first second."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from transforms.errors import UserError
from transforms.input.footers import read_footer


@pytest.mark.parametrize("content", [b"", b"a,b\n", b"sentence1,sentence2\n" * 100])
@pytest.mark.parametrize("name", ["my pairs.csv", "pairs.tsv.gz", "PAIRS.JSONL"])
def test_text_is_referred_to_convert(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=r"is text, expected Parquet; .*twinbeam convert --input"):
        read_footer(str(tmp_path / name))


def test_a_cut_file_is_called_cut(tmp_path: Path):
    (tmp_path / "pairs.parquet").write_bytes(b"PAR1" + b"x" * 100)
    with pytest.raises(UserError, match="not a complete Parquet file"):
        read_footer(str(tmp_path / "pairs.parquet"))
    with pytest.raises(UserError, match="does not exist"):
        read_footer(str(tmp_path / "gone.csv"))


def test_columns_that_arrow_cannot_write_again_are_named(tmp_path: Path):
    kinds = (
        "time '01:02:03' as here, timetz '01:02:03+00' as utc, interval 3 day as pause, "
        "[timetz '01:02:03+00'] as many, 'a' as text"
    )
    duckdb.sql(f"copy (select {kinds}) to '{tmp_path}/in.parquet' (format parquet)")
    footer = read_footer(str(tmp_path / "in.parquet"))

    assert set(footer.rewritten) == {
        "utc TIME in UTC", "pause INTERVAL", "many.list.element TIME in UTC",
    }  # fmt: skip
    duckdb.sql(f"copy (select timetz '01:02:03+00' a, 1 b) to '{tmp_path}/utc.parquet'")
    assert read_footer(str(tmp_path / "utc.parquet")).rewritten == (), "all of a file's can be kept"
