"""Names that all steps of a search share."""

from __future__ import annotations

from typing import Literal

Side = Literal["left", "right"]  # of the table that a sentence is from
SENTENCE, ID = "sentence", "id"  # the columns of a row in a block; those that are kept come after
