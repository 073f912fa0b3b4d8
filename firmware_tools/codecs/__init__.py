"""Frame codecs of power meters: bytes in, traces out."""
