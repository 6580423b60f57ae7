"""Where checkpoints lie: a folder of this machine, or one in a bucket with a local copy of it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from transforms import files

LATEST = "checkpoint"  # TensorFlow's file that names the last whole checkpoint


class CheckpointFolder:
    """TensorFlow writes to `local`; for a bucket that is a temporary folder, copied after a save.

    `checkpoint` is copied after the files that it names, and what it does not name any more goes
    last. So whoever is killed while copying leaves the checkpoint before.
    """

    def __init__(self, folder: str):
        """Fetches what is in the folder."""
        self.folder = self.local = folder
        if not files.is_local(folder):
            self._temporary = tempfile.TemporaryDirectory(prefix="twinbeam-checkpoints-")
            self.local = self._temporary.name
            files.copy_tree(folder, self.local)

    def publish(self, saved: str) -> None:
        """Copies the checkpoint just saved, `LOCAL/ckpt-N`, where the folder is in a bucket."""
        if files.is_local(self.folder):
            return
        here = {path.name for path in Path(self.local).iterdir()}
        for name in sorted(here):
            if name.startswith(f"{Path(saved).name}."):
                self._copy(name)
        self._copy(LATEST)
        gone = set(files.list_folder(self.folder)) - here
        files.delete([files.join(self.folder, name) for name in sorted(gone)])

    def _copy(self, name: str) -> None:
        files.write_bytes(files.join(self.folder, name), (Path(self.local) / name).read_bytes())
