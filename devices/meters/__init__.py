"""Power meters: what they can do (contract), how each kind is read, recordings of what they said."""
