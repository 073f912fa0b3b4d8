"""Decodes bytes of power meters into traces: each codec has `initial(**settings)` and `decode(state, data, host_s)`."""
