"""Our own power meter: firmware for an Arduino Nano or Uno with an INA chip, how to build and flash it, how to talk."""
