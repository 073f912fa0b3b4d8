"""Builds, flashes and queries our own power meter: an Arduino Nano or Uno with an INA chip."""
