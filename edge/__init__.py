"""The toolkit as its users call it: models, training, the runtime, measurement, reports and the command line."""

__version__ = "0.1.0"
