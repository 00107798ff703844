"""`python -m slng_edge` is `slng-edge`."""

from slng_edge.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
