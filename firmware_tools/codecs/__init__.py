"""Codecs of power meters: bytes in, traces out. Each has `initial(**settings)` and `decode(state, bytes, host_s)`."""
