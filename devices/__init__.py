"""Devices: their facts, the contract they keep, and the ways to reach them."""
