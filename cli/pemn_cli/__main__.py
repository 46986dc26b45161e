"""`python -m pemn_cli`: the same as `pemn-compress`."""

from __future__ import annotations

from pemn_cli.main import main

if __name__ == "__main__":
    main()
