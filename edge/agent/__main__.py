"""Serves jobs over stdin and stdout until the connection ends: `python -m edge.agent`."""

from __future__ import annotations

import sys

from edge.agent.serve import main

if __name__ == "__main__":
    sys.exit(main())
