"""The artifact: NAME.tflite with NAME.json beside it; one record, one reader, one writer."""
