"""`python -m twinbeam`, the same as the console command."""

from twinbeam.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
