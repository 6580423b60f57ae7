"""Reads label columns of any type as numbers, by the rule of a recipe (Arrow only)."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from transforms.columns import as_text, holds_text, is_number, plain, plain_type


@dataclass(frozen=True)
class LabelRule:
    """What a label may be: one of `classes` (then its index counts), or a number in a range.

    Attributes:
        classes: class names in order; a label is compared as text, so 1, 1.0, "1" and true
            are all the class "1".
        minimum: least number allowed where there are no classes.
        maximum: greatest number allowed where there are no classes.
    """

    classes: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None

    @property
    def score_range(self) -> tuple[float, float]:
        """Least and greatest similarity of a model with such labels."""
        if self.classes is not None or self.minimum is None or self.maximum is None:
            return 0.0, 1.0
        return self.minimum, self.maximum

    @property
    def expected(self) -> str:
        """What a label has to be, for a message."""
        if self.classes is not None:
            return "one of " + ", ".join(self.classes)
        return f"a number from {self.minimum} to {self.maximum}"


def parse_labels(array: pa.Array, rule: LabelRule) -> pa.Array:
    """The labels as float32 (class index, or the number); null where one cannot be read."""
    if rule.classes is not None:
        found = pc.index_in(_as_text(array), value_set=pa.array(rule.classes, pa.string()))
        return found.cast(pa.float32())
    numbers = _as_numbers(array)
    inside = pc.is_finite(numbers)
    if rule.minimum is not None:
        inside = pc.and_(inside, pc.greater_equal(numbers, rule.minimum))
    if rule.maximum is not None:
        inside = pc.and_(inside, pc.less_equal(numbers, rule.maximum))
    return pc.if_else(inside, numbers, None).cast(pa.float32())


def _as_text(array: pa.Array) -> pa.Array:
    array = plain(array)
    if holds_text(array.type):
        return pc.utf8_trim_whitespace(as_text(array))
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    elif pa.types.is_floating(array.type) or pa.types.is_decimal(array.type):
        numbers = array.cast(pa.float64())
        whole = pc.equal(numbers, pc.round(numbers))
        as_int = pc.if_else(whole, numbers, None).cast(pa.int64(), safe=False)
        return pc.if_else(whole, as_int.cast(pa.string()), numbers.cast(pa.string()))
    return array.cast(pa.large_string())


def _as_numbers(array: pa.Array) -> pa.Array:
    array = plain(array)
    if not holds_text(array.type):
        return array.cast(pa.float64(), safe=False)
    text = pc.utf8_trim_whitespace(as_text(array))
    number = pc.match_substring_regex(text, r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
    return pc.if_else(number, text, None).cast(pa.float64())


def can_be_label(data_type: pa.DataType) -> bool:
    """Whether a column of this type can hold labels at all."""
    found = plain_type(data_type)
    return holds_text(found) or is_number(found) or pa.types.is_boolean(found)
