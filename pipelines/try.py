"""`twinbeam try BUNDLE "a" "b"`; `try` is a keyword, so the work is in `pipelines.trying`."""

from pipelines.trying.try_pairs import main

if __name__ == "__main__":
    raise SystemExit(main())
