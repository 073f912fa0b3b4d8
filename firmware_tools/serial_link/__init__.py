"""A reliable stream of bytes over a serial line that loses and flips them, to a board's own SSH server."""
