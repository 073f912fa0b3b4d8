"""Emulates Raspberry Pis: their processor in QEMU's user mode, on this machine's kernel and files."""
