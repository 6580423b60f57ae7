"""Brings pages that lie beside `docs/` into the site, so that links between them work in both."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = ["ARCHITECTURE.md", "CHANGELOG.md", "README.md", "LICENSE", "CONTRIBUTING.md"]
OUTSIDE += [str(path.relative_to(ROOT)) for path in (ROOT / "benchmarks").glob("*.[mp][dn]*")]
OUTSIDE += ["deploy/kubernetes/train.yaml"]


def on_files(files: Files, config) -> Files:
    """Adds the files that pages link to and that have their place elsewhere in the repository."""
    for name in OUTSIDE:
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page, **_) -> str:
    """Links as the repository has them → as the site has them, where `docs/` is the top."""
    if page.file.src_uri in OUTSIDE:
        return re.sub(r"\]\(docs/", "](", markdown)
    return re.sub(r"\]\(\.\./", "](", markdown)
