"""One function per command that joins several rooms: convert, run, deploy, split."""
