"""The .tflite format: schema, reader, values, graph views, writer, verification."""
