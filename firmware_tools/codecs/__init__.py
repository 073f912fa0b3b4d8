"""Frame codecs of power meters: bytes in, traces out."""

from firmware_tools.codecs.registry import CODECS, Decoder, decoder

__all__ = ["CODECS", "Decoder", "decoder"]
