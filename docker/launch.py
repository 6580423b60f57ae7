"""What Dataflow's template launcher starts in the image (FLEX_TEMPLATE_PYTHON_PY_FILE)."""

from pipelines.template import launch

if __name__ == "__main__":
    raise SystemExit(launch())
