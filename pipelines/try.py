"""`twinbeam try BUNDLE "a" "b"`; `try` is a keyword, so the work is in `try_pairs`."""

from pipelines.try_pairs import main

if __name__ == "__main__":
    raise SystemExit(main())
