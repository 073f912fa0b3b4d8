"""A board's console over a serial line: log in, give it a name and a key, start what carries files."""
