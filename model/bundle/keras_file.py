"""Opens a `.keras` file that somebody else made: nothing in it is run, or fills memory."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from transforms.errors import UserError, kind_and_line

_CONFIG = "config.json"
_CONFIG_BYTES = 32 << 20  # a model of a thousand layers has about one
_UNPACKED = 20  # times the file; Keras itself does not pack at all
_ALWAYS = 64 << 20  # so much may be unpacked of any file
# Values, and functions that Keras looks for among its own, whatever their module.
_BUILTIN = ("function", "__tensor__", "__keras_tensor__", "__numpy__")


def read_model(path: str) -> keras.Model:
    """A `.keras` file, opened without running anything that it may hold.

    Raises:
        UserError: it is none, holds code (a Lambda layer), or layers that are not Keras's own.
    """
    if not path.endswith(".keras") or not Path(path).is_file() or not zipfile.is_zipfile(path):
        raise UserError(
            f"{path} is not a .keras file; save the model again with model.save('model.keras')"
        )
    try:
        config = _read_config(path)
        config.pop("compile_config", None)  # a loss of one's own: it is not read (`compile`)
        for name, kind, own in _parts(config):
            _check_part(path, name, kind, own)
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except UserError:
        raise
    except Exception as error:  # whatever a foreign file makes of it
        raise UserError(f"{path}: Keras cannot read it ({kind_and_line(error)})") from None


def _read_config(path: str) -> dict[str, Any]:
    """What the file says of the model's layers, once its parts are known to be of a fit size.

    Raises:
        UserError: it holds no such thing, or is much larger unpacked.
    """
    with zipfile.ZipFile(path) as archive:
        sizes = {part.filename: part.file_size for part in archive.infolist()}
        if sum(sizes.values()) > _ALWAYS + _UNPACKED * Path(path).stat().st_size:
            raise UserError(
                f"{path}: of {Path(path).stat().st_size:,} bytes it unpacks to "
                f"{sum(sizes.values()):,}, as no model that Keras saved does"
            )
        if sizes.get(_CONFIG, 0) > _CONFIG_BYTES:
            raise UserError(
                f"{path}: its {_CONFIG} has {sizes[_CONFIG]:,} bytes; expected {_CONFIG_BYTES:,} "
                "at most"
            )
        try:
            config = json.loads(archive.read(_CONFIG))
        except (KeyError, ValueError, RecursionError, zipfile.BadZipFile):
            config = None
    if not isinstance(config, dict):
        raise UserError(f"{path} holds no {_CONFIG} that can be read; it is not complete")
    return config


def _check_part(path: str, name: str, kind: str, own: bool) -> None:
    if kind in ("Lambda", "__lambda__"):
        raise UserError(
            f"{path}: the layer {name!r} is a Lambda, which is code; write it as layers of "
            "Keras (Subtract, Dot, …) or keras.ops, and save the model again"
        )
    if not own:
        raise UserError(
            f"{path}: the layer {name!r} is a {kind}, which is not Keras's own; build the "
            "model of Keras's layers and keras.ops, and save it again"
        )


def _parts(config: Any) -> Iterator[tuple[str, str, bool]]:
    """Name and class of everything that a config makes, and whether the class is Keras's."""
    if isinstance(config, list):
        for part in config:
            yield from _parts(part)
    if not isinstance(config, dict):
        return
    kind, module = config.get("class_name"), config.get("module")
    if isinstance(kind, str) and ("registered_name" in config or module is not None):
        inside = config.get("config")
        name = inside.get("name", kind) if isinstance(inside, dict) else kind
        # Classes that are registered in this process come first, whatever the module: ours too.
        registered = (
            ">" in f"{config.get('registered_name')} {inside if kind == 'function' else ''}"
        )
        in_keras = str(module or "keras").partition(".")[0] == "keras"
        own = (kind in _BUILTIN or in_keras) and not registered
        yield str(name), kind, own
    for part in config.values():
        yield from _parts(part)
