"""What the files of a pre-trained model say of it: a folder as the Hugging Face hub has them.

Read without TensorFlow, so that a recipe that does not fit is refused at once. `config.json` names
the network; `tokenizer_config.json` and `tokenizer.json` the tokeniser; `modules.json` and
`1_Pooling/config.json`, which sentence-transformers writes, how the tokens' vectors are pooled.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transforms.errors import UserError

# model_type → how many places of `max_position_embeddings` no token ever takes
FAMILIES = {"bert": 0, "distilbert": 0, "xlm-roberta": 2}
POOLINGS = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max"}
_MODULES = ("Transformer", "Pooling", "Normalize")


@dataclass(frozen=True)
class Preset:
    """What the files of a pre-trained model say about it.

    Attributes:
        folder: its path.
        family: a key of `FAMILIES`.
        places: tokens of its longest sentence, [CLS] and [SEP] among them.
        lowercase: whether its tokeniser ignores case; None where no file says so.
        pooling: `cls`, `mean` or `max`; None where no file says so.
        normalize: whether its vectors have unit length; None where no file says so.
        prefix_counts: whether the vectors of a prefix's tokens are pooled as well.
    """

    folder: Path
    family: str
    places: int
    lowercase: bool | None = None
    pooling: str | None = None
    normalize: bool | None = None
    prefix_counts: bool = True


def read_preset(folder: str | Path) -> Preset | None:
    """What a folder's files say; None where they say nothing.

    A bundle holds its own weights: it is read where the folder need not be. And keras-hub's own
    presets say all that there is to their weights.

    Raises:
        UserError: it exists, but contains what cannot be used: names the file and the key.
    """
    folder = Path(folder)
    config = _read(folder / "config.json")
    if not isinstance(config, dict) or "model_type" not in config:
        return None
    family, places = config.get("model_type"), config.get("max_position_embeddings")
    if family not in FAMILIES or not isinstance(places, int):
        raise UserError(
            f"encoder.preset: {folder}/config.json says model_type {family!r} and "
            f"max_position_embeddings {places!r}; expected a number and one of "
            f"{', '.join(FAMILIES)}"
        )
    activation = config.get("hidden_act", config.get("activation", "gelu"))
    kind = config.get("position_embedding_type", "absolute")
    if activation != "gelu" or kind != "absolute":
        raise UserError(
            f"encoder.preset: {folder}/config.json says hidden_act {activation!r} and "
            f"position_embedding_type {kind!r}; only gelu and absolute can be computed"
        )
    normalize = _normalize(folder)
    pooling, prefix_counts = _pooling(folder)
    return Preset(
        folder,
        family,
        places - FAMILIES[family],
        _lowercase(folder),
        pooling,
        normalize,
        prefix_counts,
    )


def _read(path: Path) -> Any:
    """A JSON file's content; None if the file does not exist.

    Raises:
        UserError: it is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError:
        return None
    except ValueError:
        raise UserError(f"encoder.preset: {path} is not JSON") from None


def _lowercase(folder: Path) -> bool | None:
    """Whether the tokeniser makes no difference of case.

    Raises:
        UserError: it treats accents or Chinese as ours cannot.
    """
    about = _read(folder / "tokenizer_config.json") or {}
    rules = (_read(folder / "tokenizer.json") or {}).get("normalizer") or {}
    if rules.get("type") == "BertNormalizer":  # what transformers goes by where it is there
        about = {
            "do_lower_case": rules.get("lowercase"),
            "strip_accents": rules.get("strip_accents"),
            "tokenize_chinese_chars": rules.get("handle_chinese_chars", True),
        }
    before = (_read(folder / "sentence_bert_config.json") or {}).get("do_lower_case", False)
    lowercase = before or about.get("do_lower_case")
    accents = about.get("strip_accents")
    if accents is not None and accents != lowercase:
        raise UserError(
            f"encoder.preset: the tokeniser in {folder} has strip_accents {accents} and "
            f"do_lower_case {lowercase}; only both together can be computed"
        )
    if about.get("tokenize_chinese_chars", True) is False:
        raise UserError(
            f"encoder.preset: the tokeniser in {folder} has tokenize_chinese_chars false, which "
            "cannot be computed"
        )
    if str(about.get("tokenizer_class", "")).startswith("XLMRoberta"):
        return bool(before)
    return lowercase if isinstance(lowercase, bool) else None


def _normalize(folder: Path) -> bool | None:
    """Whether the last module brings vectors to unit length.

    Raises:
        UserError: there is a module that cannot be computed.
    """
    modules = _read(folder / "modules.json")
    if modules is None:
        return None
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    for kind in kinds:
        if kind not in _MODULES:
            raise UserError(
                f"encoder.preset: {folder}/modules.json has the module {kind!r}; only "
                f"{', '.join(_MODULES)} can be computed"
            )
    return "Normalize" in kinds


def _pooling(folder: Path) -> tuple[str | None, bool]:
    """How tokens' vectors are pooled, and whether those of a prefix are.

    Raises:
        UserError: in another way than can be computed.
    """
    path = folder / "1_Pooling" / "config.json"
    about = _read(path)
    if about is None:
        return None, True
    named = about.get("pooling_mode")  # newer files have a name, older ones a flag for each
    modes = [named] if isinstance(named, str) else named or []
    modes += [key.removeprefix("pooling_mode_") for key, on in about.items() if on is True]
    known = {**POOLINGS, **{name: name for name in POOLINGS.values()}}
    found = [mode for mode in modes if mode != "include_prompt"]
    if len(found) != 1 or found[0] not in known:
        raise UserError(
            f"encoder.preset: {path} asks for the pooling {', '.join(map(str, found)) or 'none'}; "
            f"only one of {', '.join(POOLINGS.values())} can be computed"
        )
    return known[found[0]], about.get("include_prompt", True)
