"""Inference on a board: one small API over the TFLite runtimes, with the file verified before native code sees it."""
