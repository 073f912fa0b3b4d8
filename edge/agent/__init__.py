"""The program sent to a board: jobs in, results out, JSON lines over stdio."""
