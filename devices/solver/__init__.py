"""Which TFLite runtime fits a board, where its wheels come from, and how they get onto a board with no internet."""
