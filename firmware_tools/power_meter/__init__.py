"""Our own power meter: firmware for an Arduino Nano or Uno with an INA chip, its builder, flasher and client."""
