"""What a board is (facts), what it can do (contract), how it is reached (local)."""
