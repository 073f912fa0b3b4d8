"""Energy per inference: clock alignment, integration, uncertainty and validity, from a meter's trace to one value."""
